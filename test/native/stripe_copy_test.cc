// SPDX-License-Identifier: Apache-2.0
// A stripe copied out of the image by its layout (R20). cut_stripe() is its plain twin; and whatever a layout
// says, what is made of it puts together the image's own bytes, or nothing is made of it.
#include "core/frames/stripe_copy.hh"

#include "core/frames/recovery_frame.hh"
#include "stripe_samples.hh"

using namespace pars;
using namespace pars::test;

namespace {

constexpr auto kFree = static_cast<uint8_t>(PageClass::free_page);
constexpr auto kAnon = static_cast<uint8_t>(PageClass::anon);

ImageSource image_of(Bytes bytes, std::vector<MappedPlaces> blocks = {}) {
  const auto read = [bytes](uint64_t offset, std::span<uint8_t> into) {
    if (offset > bytes.size() || into.size() > bytes.size() - offset) return false;
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
    return true;
  };
  return {read, std::move(blocks)};
}

FrameKinds all() { return FrameKinds().set(); }
FrameKinds critical() {
  FrameKinds kinds = all();
  for (uint8_t kind = 0; kind < kFrameKinds; kind++)
    if (expendable_kind(kind)) kinds.reset(kind);
  return kinds;
}

/// A layout, with room to damage it.
struct LaidOut {
  Extent extent;
  StripeLayout layout;
  explicit LaidOut(const StripeMap& map) : extent(map.extent), layout(lay_out(map)) {}
  Result<std::vector<RawFrame>> copy(const ImageSource& image, FrameKinds wanted = all()) const {
    auto frames = copy_stripe({extent.offset, extent.length, layout.runs, layout.references}, image, wanted);
    if (!frames) CHECK((frames.error().code == ErrorCode::corrupt || frames.error().code == ErrorCode::io));
    return frames;
  }
  Result<std::vector<RawFrame>> copy(Bytes image, FrameKinds wanted = all()) const {
    return copy(image_of(image), wanted);
  }
};

bool same(const std::vector<RawFrame>& a, const std::vector<RawFrame>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const RawFrame& x, const RawFrame& y) {
    return x.kind == y.kind && x.pages == y.pages && x.bytes == y.bytes;
  });
}

/// A sparse image of one block: a header, a bitmap, and pages of which every third is there.
struct SparseImage {
  static constexpr uint64_t kPages = 96, kBitmap = 28, kPlaces = 8192;
  std::vector<uint8_t> bytes = std::vector<uint8_t>(kPlaces + kPages * kPageSize);
  std::vector<MappedPlaces> blocks = {{kBitmap, kPlaces, kPages* kPageSize}};

  SparseImage() {
    ImageBuilder header;
    header.be32(1).be64(kPageSize).be64(kBitmap).be64(kPlaces);
    std::copy(header.bytes.begin(), header.bytes.end(), bytes.begin());
    for (uint64_t page = 0; page < kPages; page += 3) {
      bytes[kBitmap + page / 8] |= uint8_t(1 << page % 8);
      std::fill_n(bytes.begin() + kPlaces + page * kPageSize, kPageSize, uint8_t(page + 1));
      bytes[kPlaces + page * kPageSize] = 0xee;  // so that it repeats no word
    }
  }
  /// Its places as one stripe: page `page` of them is said to be all zero.
  StripeMap map() const {
    StripeMap map{{kPlaces, kPages * kPageSize}, {}};
    for (uint64_t page = 0; page < kPages; page++) {
      const bool zero = page % 3 != 0;
      map.payloads.push_back({kPlaces + page * kPageSize, 0, zero ? kFillFrame : kAnon, zero});
    }
    return map;
  }
  ImageSource source() const { return image_of(bytes, blocks); }
  bool is_hole(uint64_t page) const {
    return bool(check_zero_pages(kPlaces + page * kPageSize, kPageSize, source()));
  }
};

}  // namespace

TEST_CASE("copy: a layout makes the frames that are cut of its map (row 1)") {
  for (uint32_t seed = 41; seed <= 43; seed++) {
    const Sample sample = random_image(seed);
    for (const Stripe& stripe : sample.stream.stripes) {
      const StripeMap map = sample.map(stripe);
      for (const FrameKinds wanted : {all(), critical()}) {
        const auto frames = LaidOut(map).copy(sample.bytes(), wanted);
        REQUIRE(frames);
        CHECK(same(*frames, cut_stripe(sample.bytes(), map, wanted)));
      }
    }
  }
}

TEST_CASE("copy: whatever the layout, what is made of it is the image (row 1)") {
  CutStripe cut(44);
  const Bytes image = cut.sample.bytes(), own = image.subspan(cut.map.extent.offset, cut.map.extent.length);
  LaidOut laid(cut.map);
  Random random(44);
  uint64_t made = 0, refused = 0;
  for (int i = 0; i < 4000; i++) {
    auto& runs = laid.layout.runs;
    // Half of them where a run says which frame its pages belong to: another may do as well.
    const uint32_t any = pick(random, uint32_t(runs.size())), source = 4 + any / 16 * 16 + 10;
    auto& byte = runs[i % 2 && source < runs.size() ? source : any];
    const uint8_t was = byte;
    byte ^= uint8_t(1u << pick(random, 8));
    if (auto frames = laid.copy(image); frames) {
      made++;
      const auto rebuilt = assemble(parts_of(cut.map, *frames));
      REQUIRE(rebuilt);
      CHECK(std::equal(rebuilt->begin(), rebuilt->end(), own.begin(), own.end()));
    } else {
      refused++;
    }
    byte = was;
  }
  CHECK(made > 500);
  CHECK(refused > 1500);
}

TEST_CASE("copy: a layout of another length, or for another place (row 1)") {
  CutStripe cut(46);
  const Bytes image = cut.sample.bytes();
  for (const uint64_t bytes :
       {uint64_t{0}, cut.map.extent.length - 1, cut.map.extent.length + 1, UINT64_MAX}) {
    LaidOut laid(cut.map);
    laid.extent.length = bytes;
    CHECK_FALSE(laid.copy(image));
  }
  LaidOut beside(cut.map);
  beside.extent.offset++;
  CHECK_FALSE(beside.copy(image));
  CHECK_FALSE(LaidOut(cut.map).copy(image.first(cut.map.extent.end() - 1)));
  LaidOut more(cut.map);
  more.layout.runs.push_back(0);
  CHECK_FALSE(more.copy(image));
  // Sums that pass the largest number and come back.
  LaidOut huge(cut.map);
  huge.layout.runs.clear();
  encode_runs(std::vector<Run>(1 << 20, Run{0, UINT32_MAX, 0, kFree}), huge.layout.runs);
  CHECK_FALSE(huge.copy(image));
}

TEST_CASE("copy: what is critical is always wanted") {
  CutStripe cut(45);
  CHECK_FALSE(LaidOut(cut.map).copy(cut.sample.bytes(), critical().reset(kAnon)));
  CHECK_FALSE(LaidOut(cut.map).copy(cut.sample.bytes(), critical().reset(kSkeletonFrame)));
}

TEST_CASE("copy: a page that repeats no word is not told by one (row 1)") {
  CutStripe cut(45);
  StripeMap map = cut.map;
  for (auto& payload : map.payloads)
    if (payload.source == kAnon) payload.source = kFillFrame;
  CHECK_FALSE(LaidOut(map).copy(cut.sample.bytes()));
}

TEST_CASE("copy: a page is lost only where a page's record stands (row 1)") {
  // A stretch without records, told as one page of free memory behind a header.
  const std::vector<uint8_t> image(8 + kPageSize, 0x55);
  const StripeMap map{{0, image.size()}, {{8, 8, kFree}}};
  CHECK_FALSE(LaidOut(map).copy(image));
  CHECK_FALSE(LaidOut(map).copy(image, critical()));
  std::vector<uint8_t> with_record = image;
  std::fill_n(with_record.begin(), 8, 0);
  with_record[7] = 0x28;
  CHECK(LaidOut(map).copy(with_record, critical()));
}

TEST_CASE("copy: references have the digests of the image's pages, whatever stands there (row 1)") {
  CutStripe cut(47);
  const Bytes image = cut.sample.bytes();
  std::vector<PageReference> references;
  for (const auto& payload : cut.map.payloads)
    if (payload.source == kAnon && references.size() < 64)
      references.push_back({payload.offset, {references.size() * kPageSize, 0}});
  const auto& stripe = cut.sample.stream.stripes.front();
  const StripeMap map = map_stripe(image, cut.map.extent, stripe_records(image, cut.sample.stream, stripe),
                                   cut.sample.classes, references);
  LaidOut laid(map);
  const auto plain = cut_stripe(image, map);
  auto runs = decode_references(laid.layout.references);
  REQUIRE(runs);
  REQUIRE(runs->size() >= 2);
  const auto with = [&](const std::vector<DiskRun>& other) {
    laid.layout.references = encode_references(other);
    return laid.copy(image);
  };
  CHECK(same(*with(*runs), plain));
  std::vector<DiskRun> forged = *runs;
  forged.back().digest[3] ^= 1;
  CHECK(same(*with(forged), plain));
  CHECK_FALSE(with({runs->begin(), runs->end() - 1}));
  forged = *runs, forged.push_back(runs->back());
  CHECK_FALSE(with(forged));
  laid.layout.references.clear();
  CHECK_FALSE(laid.copy(image));
}

TEST_CASE("copy: a page of a sparse image is zero where its bit is clear, and only there (row 1)") {
  SparseImage sparse;
  const LaidOut laid(sparse.map());
  const auto plain = cut_stripe(sparse.bytes, sparse.map());
  CHECK(same(*laid.copy(sparse.source()), plain));
  CHECK(sparse.is_hole(1));
  CHECK_FALSE(sparse.is_hole(3));
  // Whatever lies in the place of a page whose bit is clear, it is a zero page.
  sparse.bytes[SparseImage::kPlaces + kPageSize] = 1;
  CHECK(same(*laid.copy(sparse.source()), plain));
  CHECK(sparse.is_hole(1));
  sparse.bytes[SparseImage::kBitmap] |= 2;
  CHECK_FALSE(laid.copy(sparse.source()));
  CHECK_FALSE(sparse.is_hole(1));
  sparse.bytes[SparseImage::kBitmap] &= uint8_t(~2u);
  for (const auto change : std::initializer_list<void (*)(MappedPlaces&)>{
           [](MappedPlaces& block) { block.bitmap_offset += 1; },
           [](MappedPlaces& block) { block.pages_offset -= kPageSize; },
           [](MappedPlaces& block) { block.bitmap_offset = 0; },
           [](MappedPlaces& block) { block.bytes = kPageSize; }}) {
    SparseImage lied;
    change(lied.blocks[0]);
    CHECK_FALSE(laid.copy(lied.source()));
  }
  CHECK_FALSE(laid.copy(sparse.bytes));  // pages without records, in an image that is not sparse
}

TEST_CASE("recovery: writes behind the head, and can be read whole (row 1)") {
  const std::vector<uint8_t> good = encode_recovery({{100, 1, 1}, {199, 1, 0}});
  CHECK(check_recovery(good, 100, 200));
  CHECK_FALSE(check_recovery(good, 101, 200));
  CHECK_FALSE(check_recovery(good, 100, 199));
  CHECK_FALSE(check_recovery(Bytes(good).first(good.size() - 1), 100, 200));
  CHECK_FALSE(check_recovery(Bytes(good).first(4), 100, 200));
  CHECK_FALSE(check_recovery({}, 100, 200));
  std::vector<uint8_t> newer = good;
  newer[0] = 2;
  CHECK_FALSE(check_recovery(newer, 100, 200));
}
