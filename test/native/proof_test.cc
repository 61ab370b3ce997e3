// SPDX-License-Identifier: Apache-2.0
// The proof that frames are the image's bytes (R20). Assembly is its plain twin: what is proved is what a
// restore would put together, and what a restore would put together otherwise is never proved.
#include "core/frames/proof.hh"

#include "core/frames/recovery_frame.hh"
#include "stripe_samples.hh"

using namespace pars;
using namespace pars::test;

namespace {

constexpr auto kFree = static_cast<uint8_t>(PageClass::free_page);
constexpr auto kAnon = static_cast<uint8_t>(PageClass::anon);

ProofImage image_of(Bytes bytes, std::vector<MappedPlaces> blocks = {}) {
  const auto read = [bytes](uint64_t offset, std::span<uint8_t> into) {
    if (offset > bytes.size() || into.size() > bytes.size() - offset) return false;
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
    return true;
  };
  return {read, std::move(blocks)};
}

bool proved(const StripeParts& parts, Bytes image) {
  const Status status = prove_stripe(parts, image_of(image));
  if (!status) CHECK((status.error().code == ErrorCode::corrupt || status.error().code == ErrorCode::io));
  return bool(status);
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
  bool proves(const StripeParts& parts) const { return bool(prove_stripe(parts, image_of(bytes, blocks))); }
  bool proves_hole(uint64_t page) const {
    return bool(prove_zero_pages(kPlaces + page * kPageSize, kPageSize, image_of(bytes, blocks)));
  }
};

}  // namespace

TEST_CASE("proof: what is cut from an image is proved, with expendable pages or without (row 1)") {
  for (uint32_t seed = 41; seed <= 43; seed++) {
    const Sample sample = random_image(seed);
    for (const Stripe& stripe : sample.stream.stripes) {
      const StripeMap map = sample.map(stripe);
      const auto frames = cut_stripe(sample.bytes(), map);
      StripeParts parts = parts_of(map, frames);
      CHECK(proved(parts, sample.bytes()));
      lose(parts, Loss::in_place);
      CHECK(proved(parts, sample.bytes()));
    }
  }
}

TEST_CASE("proof: any changed bit of any frame is found (row 1)") {
  CutStripe cut(44);
  const Bytes image = cut.sample.bytes();
  const Bytes own = image.subspan(cut.map.extent.offset, cut.map.extent.length);
  Random random(44);
  uint64_t refused = 0;
  for (int i = 0; i < 4000; i++) {
    auto& bytes = cut.frames[pick(random, static_cast<uint32_t>(cut.frames.size()))].bytes;
    if (bytes.empty()) continue;
    // Half of them where the table of a skeleton is: there a change may still make the same bytes.
    const uint32_t at = pick(random, std::min<uint32_t>(i % 2 ? 4096 : UINT32_MAX, uint32_t(bytes.size())));
    const uint8_t was = bytes[at];
    bytes[at] ^= uint8_t(1u << pick(random, 8));
    const auto rebuilt = assemble(cut.parts());
    if (!(rebuilt && std::equal(rebuilt->begin(), rebuilt->end(), own.begin(), own.end()))) {
      refused++;
      CHECK_FALSE(proved(cut.parts(), image));
    }
    bytes[at] = was;
  }
  CHECK(refused > 3000);
  CHECK(proved(cut.parts(), image));
}

TEST_CASE("proof: any changed bit of the image is found, but in pages that are not stored (row 1)") {
  CutStripe cut(45);
  std::vector<uint8_t> image(cut.sample.bytes().begin(), cut.sample.bytes().end());
  Random random(45);
  for (int i = 0; i < 300; i++) {
    const uint64_t at = cut.map.extent.offset + pick(random, uint32_t(cut.map.extent.length));
    image[at] ^= 1;
    CHECK_FALSE(proved(cut.parts(), image));
    image[at] ^= 1;
  }
  image[cut.payload_of(kFree) + 7] ^= 1;
  CHECK_FALSE(proved(cut.parts(), image));
  StripeParts parts = cut.parts();
  lose(parts, Loss::in_place);
  CHECK(proved(parts, image));
  image[cut.payload_of(kFree) - 1] ^= 0xff;  // its record
  CHECK_FALSE(proved(parts, image));
}

TEST_CASE("proof: frames of another length, missing, or that no stripe has (row 1)") {
  CutStripe cut(46);
  const Bytes image = cut.sample.bytes();
  for (const uint8_t kind : {kAnon, kFree, kFillFrame, kSkeletonFrame}) {
    CAPTURE(kind);
    StripeParts gone = cut.parts();
    gone.parts[kind] = {};
    CHECK_FALSE(proved(gone, image));
    for (const int change : {-4096, -1, 1, 4096}) {
      StripeParts parts = cut.parts();
      std::vector<uint8_t> bytes = cut.frame(kind).bytes;
      if (change < 0 && bytes.size() < size_t(-change)) continue;
      bytes.resize(bytes.size() + static_cast<size_t>(change));
      parts.parts[kind] = {true, Loss::none, bytes.size(), bytes};
      CHECK_FALSE(proved(parts, image));
    }
  }
  StripeParts lost = cut.parts();
  lost.parts[kAnon].loss = Loss::in_place, lost.parts[kAnon].bytes = {};
  CHECK_FALSE(proved(lost, image));
  StripeParts extra = cut.parts();
  extra.parts[kRecoveryFrame].present = true;
  CHECK_FALSE(proved(extra, image));
  for (const uint64_t bytes :
       {uint64_t{0}, cut.map.extent.length - 1, cut.map.extent.length + 1, UINT64_MAX}) {
    StripeParts parts = cut.parts();
    parts.image_bytes = bytes;
    CHECK_FALSE(proved(parts, image));
  }
  StripeParts beside = cut.parts();
  beside.image_offset++;
  CHECK_FALSE(proved(beside, image));
  CHECK_FALSE(proved(cut.parts(), image.first(cut.map.extent.end() - 1)));
}

TEST_CASE("proof: a page is lost only where a page's record stands (row 1)") {
  // A stretch without records, told as one page of free memory behind a header.
  const std::vector<uint8_t> image(8 + kPageSize, 0x55);
  std::vector<uint8_t> skeleton;
  encode_runs({{8, 1, 8, kFree}}, skeleton);
  skeleton.insert(skeleton.end(), 8, 0x55);
  StripeParts parts{0, image.size(), {}};
  parts.parts[kSkeletonFrame] = {true, Loss::none, skeleton.size(), skeleton};
  parts.parts[kFree] = {true, Loss::in_place, kPageSize, {}};
  CHECK_FALSE(proved(parts, image));
}

TEST_CASE("proof: references are pages of the image, by their digests (row 1)") {
  CutStripe cut(47);
  const Bytes image = cut.sample.bytes();
  std::vector<PageReference> references;
  for (const auto& payload : cut.map.payloads)
    if (payload.source == kAnon && references.size() < 64)
      references.push_back({payload.offset, {references.size() * kPageSize, 0}});
  const auto& stripe = cut.sample.stream.stripes.front();
  const StripeMap map = map_stripe(image, cut.map.extent, stripe_records(image, cut.sample.stream, stripe),
                                   cut.sample.classes, references);
  auto frames = cut_stripe(image, map);
  CHECK(proved(parts_of(map, frames), image));
  auto& table = std::find_if(frames.begin(), frames.end(), [](const RawFrame& f) {
                  return f.kind == kDiskFrame;
                })->bytes;
  auto runs = decode_references(table);
  REQUIRE(runs);
  REQUIRE(runs->size() >= 2);
  const auto with = [&](std::vector<DiskRun> other) {
    table = encode_references(other);
    return proved(parts_of(map, frames), image);
  };
  CHECK(with(*runs));
  std::vector<DiskRun> forged = *runs;
  forged.back().digest[3] ^= 1;
  CHECK_FALSE(with(forged));
  std::swap(forged[0].digest, forged[1].digest);
  CHECK_FALSE(with(forged));
  CHECK_FALSE(with({runs->begin(), runs->end() - 1}));
  forged = *runs, forged.push_back(runs->back());
  CHECK_FALSE(with(forged));
}

TEST_CASE("proof: a page of a sparse image is zero where its bit is clear, and only there (row 1)") {
  SparseImage sparse;
  auto frames = cut_stripe(sparse.bytes, sparse.map());
  const StripeParts parts = parts_of(sparse.map(), frames);
  CHECK(sparse.proves(parts));
  CHECK(sparse.proves_hole(1));
  CHECK_FALSE(sparse.proves_hole(3));
  // Whatever lies in the place of a page whose bit is clear, it is a zero page.
  sparse.bytes[SparseImage::kPlaces + kPageSize] = 1;
  CHECK(sparse.proves(parts));
  CHECK(sparse.proves_hole(1));
  sparse.bytes[SparseImage::kBitmap] |= 2;
  CHECK_FALSE(sparse.proves(parts));
  CHECK_FALSE(sparse.proves_hole(1));
  sparse.bytes[SparseImage::kBitmap] &= uint8_t(~2u);
  for (const auto change : std::initializer_list<void (*)(MappedPlaces&)>{
           [](MappedPlaces& block) { block.bitmap_offset += 1; },
           [](MappedPlaces& block) { block.pages_offset -= kPageSize; },
           [](MappedPlaces& block) { block.bitmap_offset = 0; },
           [](MappedPlaces& block) { block.bytes = kPageSize; }}) {
    SparseImage lied;
    change(lied.blocks[0]);
    CHECK_FALSE(lied.proves(parts));
  }
  CHECK_FALSE(proved(parts, sparse.bytes));  // pages without records, in an image that is not sparse
}

TEST_CASE("proof: recovery writes behind the head, and can be read whole (row 1)") {
  const std::vector<uint8_t> good = encode_recovery({{100, 1, 1}, {199, 1, 0}});
  CHECK(prove_recovery(good, 100, 200));
  CHECK_FALSE(prove_recovery(good, 101, 200));
  CHECK_FALSE(prove_recovery(good, 100, 199));
  CHECK_FALSE(prove_recovery(Bytes(good).first(good.size() - 1), 100, 200));
  CHECK_FALSE(prove_recovery(Bytes(good).first(4), 100, 200));
  CHECK_FALSE(prove_recovery({}, 100, 200));
  std::vector<uint8_t> newer = good;
  newer[0] = 2;
  CHECK_FALSE(prove_recovery(newer, 100, 200));
}
