// SPDX-License-Identifier: Apache-2.0
#include "core/frames/stripe.hh"

#include <doctest/doctest.h>

#include "core/frames/recovery_frame.hh"
#include "stripe_samples.hh"

using namespace pars;
using namespace pars::test;

namespace {

/// The image with every expendable frame lost.
std::vector<uint8_t> image_after_loss(const Sample& sample, Loss loss) {
  std::vector<uint8_t> image(sample.bytes().begin(),
                             sample.bytes().begin() + static_cast<ptrdiff_t>(sample.head_end()));
  for (const Stripe& stripe : sample.stream.stripes) {
    StripeMap map = sample.map(stripe);
    auto frames = cut_stripe(sample.bytes(), map);
    StripeParts parts = parts_of(map, frames);
    lose(parts, loss);
    auto rebuilt = assemble(parts);
    REQUIRE(rebuilt);
    image.insert(image.end(), rebuilt->begin(), rebuilt->end());
  }
  return image;
}

Bytes page_at(Bytes image, PageLocation at) {
  static const std::vector<uint8_t> zeros(kPageSize);
  return at == kZeroPage ? Bytes(zeros) : image.subspan(at, kPageSize);
}

bool same(Bytes a, Bytes b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }
bool is_zero(Bytes page) {
  return std::all_of(page.begin(), page.end(), [](uint8_t b) { return b == 0; });
}

/// Every page is as it was; one that may be lost, and lies behind the head, is zero.
void check_memory(const Sample& sample, Bytes after, const MigrationStream& stream) {
  uint64_t wrong = 0, lost = 0;
  for (size_t b = 0; b < sample.stream.blocks.size(); b++) {
    for (size_t p = 0; p < sample.stream.blocks[b].pages.size(); p++) {
      PageLocation at = sample.stream.blocks[b].pages[p];
      Bytes was = page_at(sample.bytes(), at), is = page_at(after, stream.blocks[b].pages[p]);
      bool gone =
          at >= sample.head_end() && expendable(sample.classes[b][p]) && !repeats_one_word(was.data());
      lost += gone;
      wrong += gone ? !is_zero(is) : !same(was, is);
    }
  }
  CHECK(wrong == 0);
  CHECK(lost > 100);
}

void expect_corrupt(const Result<std::vector<uint8_t>>& result) {
  REQUIRE(!result);
  CHECK(result.error().code == ErrorCode::corrupt);
}

constexpr auto kFree = static_cast<uint8_t>(PageClass::free_page);
constexpr auto kAnon = static_cast<uint8_t>(PageClass::anon);

}  // namespace

TEST_CASE("stripe: what is cut and assembled is what it was") {
  for (uint32_t seed = 1; seed <= 5; seed++) {
    Sample sample = random_image(seed);
    REQUIRE(sample.stream.stripes.size() > 1);
    for (const Stripe& stripe : sample.stream.stripes) {
      StripeMap map = sample.map(stripe);
      CHECK(map.payloads.size() == stripe.payload_pages);
      auto frames = cut_stripe(sample.bytes(), map);
      auto rebuilt = assemble(parts_of(map, frames));
      REQUIRE(rebuilt);
      CHECK(same(*rebuilt, sample.bytes().subspan(stripe.image_offset, stripe.length)));
    }
  }
}

TEST_CASE("stripe: bytes that nobody wants are counted and not kept") {
  CutStripe cut(6);
  FrameKinds wanted = FrameKinds().set().reset(kFree);
  for (const RawFrame& frame : cut_stripe(cut.sample.bytes(), cut.map, wanted)) {
    CHECK(frame.bytes.empty() == (frame.kind == kFree));
    if (frame.kind != kSkeletonFrame) CHECK(frame.pages == cut.frame(frame.kind).pages);
  }
}

TEST_CASE("stripe: packed loss leaves a valid stream, and only lost pages are zero") {
  Sample sample = random_image(11);
  std::vector<uint8_t> packed = image_after_loss(sample, Loss::packed);
  CHECK(packed.size() < sample.bytes().size());
  auto stream = parse_migration_stream(packed, sample.stream_offset);
  REQUIRE(stream);
  CHECK(stream->payload_records + stream->zero_records ==
        sample.stream.payload_records + sample.stream.zero_records);
  check_memory(sample, packed, *stream);
}

TEST_CASE("stripe: loss in place keeps every offset") {
  Sample sample = random_image(12);
  std::vector<uint8_t> image = image_after_loss(sample, Loss::in_place);
  CHECK(image.size() == sample.bytes().size());
  auto stream = parse_migration_stream(image, sample.stream_offset);
  REQUIRE(stream);
  check_memory(sample, image, *stream);
}

TEST_CASE("stripe: recovery writes change bits of critical payload, beside lost pages too") {
  CutStripe cut(21);
  const uint64_t at = cut.payload_of(kAnon) + 1234;
  for (Loss loss : {Loss::none, Loss::packed, Loss::in_place}) {
    StripeParts parts = cut.parts();
    if (loss != Loss::none) lose(parts, loss);
    auto before = assemble(parts), after = assemble(parts, {{at, 0x0f, 0x05}, {at, 0x80, 0x80}});
    REQUIRE(before);
    REQUIRE(after);
    REQUIRE(before->size() == after->size());
    size_t changed = 0;
    for (size_t i = 0; i < after->size(); i++) changed += (*before)[i] != (*after)[i];
    CHECK(changed <= 1);
    if (loss == Loss::packed) continue;
    uint8_t was = cut.sample.bytes()[at], expected = uint8_t((((was & ~0x0f) | 0x05) & ~0x80) | 0x80);
    CHECK((*after)[at - cut.map.extent.offset] == expected);
  }
}

TEST_CASE("stripe: a recovery write anywhere else is corrupt") {
  CutStripe cut(22);
  const uint64_t header = cut.payload_of(kAnon) - 1;
  for (uint64_t at : {cut.payload_of(kFree), header, cut.map.extent.offset, cut.map.extent.offset - 1,
                      cut.map.extent.end(), UINT64_MAX}) {
    CAPTURE(at);
    expect_corrupt(assemble(cut.parts(), {{at, 1, 1}}));
    StripeParts lossy = cut.parts();
    lose(lossy, Loss::packed);
    expect_corrupt(assemble(lossy, {{at, 1, 1}}));
  }
}

TEST_CASE("stripe: targets outside critical payload are found before they are stored") {
  CutStripe cut(23);
  const uint64_t good = cut.payload_of(kAnon) + 5, lost = cut.payload_of(kFree) + 5;
  CHECK(targets_are_critical(cut.map, {}));
  CHECK(targets_are_critical(cut.map, std::vector<uint64_t>{0, good, cut.map.extent.end()}));
  CHECK(!targets_are_critical(cut.map, std::vector<uint64_t>{std::min(good, lost), std::max(good, lost)}));
  CHECK(!targets_are_critical(cut.map, std::vector<uint64_t>{cut.map.extent.offset}));
}

TEST_CASE("stripe: what is critical cannot be lost") {
  CutStripe cut(31);
  for (uint8_t kind : {kAnon, kFillFrame, kSkeletonFrame}) {
    StripeParts parts = cut.parts();
    parts.parts[kind].loss = Loss::packed;
    expect_corrupt(assemble(parts));
    parts.parts[kind] = {};
    expect_corrupt(assemble(parts));
  }
}

TEST_CASE("stripe: sizes that do not add up are corrupt") {
  CutStripe cut(32);
  StripeParts parts = cut.parts();
  parts.image_bytes++;
  expect_corrupt(assemble(parts));
  for (uint8_t kind : {kAnon, kFree, kFillFrame, kSkeletonFrame}) {
    for (int change : {-1, 1, 4096}) {
      StripeParts changed = cut.parts();
      std::vector<uint8_t> bytes = cut.frame(kind).bytes;
      bytes.resize(bytes.size() + static_cast<size_t>(change));
      changed.parts[kind] = {true, Loss::none, bytes.size(), bytes};
      expect_corrupt(assemble(changed));
    }
    StripeParts lied = cut.parts();
    lied.parts[kind].raw_bytes++;
    expect_corrupt(assemble(lied));
  }
  StripeParts extra = cut.parts();
  extra.parts[kRecoveryFrame].present = true;
  expect_corrupt(assemble(extra));
}

TEST_CASE("stripe: a damaged run table is refused or changes nothing but contents") {
  CutStripe cut(33);
  Random random(33);
  auto& skeleton = cut.frame(kSkeletonFrame).bytes;
  const uint32_t table = 4 + 16 * load_le<uint32_t>(skeleton.data());
  for (int i = 0; i < 3000; i++) {
    const uint32_t at = pick(random, table);
    const uint8_t was = skeleton[at];
    skeleton[at] ^= uint8_t(1u << pick(random, 8));
    StripeParts parts = cut.parts();
    if (i % 2) lose(parts, Loss::packed);
    if (auto rebuilt = assemble(parts)) CHECK(rebuilt->size() <= cut.map.extent.length);
    else CHECK(rebuilt.error().code == ErrorCode::corrupt);
    skeleton[at] = was;
  }
}

TEST_CASE("stripe: packed loss wants a page record before the page") {
  CutStripe cut(34);
  auto& skeleton = cut.frame(kSkeletonFrame).bytes;
  const uint32_t table = 4 + 16 * load_le<uint32_t>(skeleton.data());
  std::fill(skeleton.begin() + table, skeleton.end(), uint8_t(0xff));
  StripeParts parts = cut.parts();
  lose(parts, Loss::packed);
  expect_corrupt(assemble(parts));
}

TEST_CASE("stripe: a long one is split between records") {
  std::vector<uint8_t> image(3 * kMaxStripeBytes + 12345);
  std::vector<PageRecord> records;
  // One record straddles each place where a cut would fall.
  for (uint64_t cut = kMaxStripeBytes; cut < image.size(); cut += kMaxStripeBytes - 2000)
    records.push_back({cut - 1000, 8, cut - 992, 0, 1});
  for (const PageRecord& record : records) image[record.payload] = 1;
  StripeMap map = map_stripe(image, {0, image.size()}, records, {});
  REQUIRE(map.payloads.size() == records.size());
  std::vector<uint8_t> rebuilt;
  for (const StripeMap& part : split_stripe(map)) {
    CHECK(part.extent.offset == rebuilt.size());
    CHECK(part.extent.length <= kMaxStripeBytes);
    auto frames = cut_stripe(image, part);
    auto bytes = assemble(parts_of(part, frames));
    REQUIRE(bytes);
    rebuilt.insert(rebuilt.end(), bytes->begin(), bytes->end());
  }
  CHECK(rebuilt == image);
}

TEST_CASE("stripe: records that do not fit are left to the skeleton") {
  std::vector<uint8_t> image(64 << 10);
  const Extent extent{4096, 32 << 10};
  const std::vector<PageRecord> records = {
      {4000, 8, 4008, 0, 0},   {5000, 8, 5008, 0, 0},   {6000, 8, 6008, 0, 0},       {12000, 8, 12009, 0, 0},
      {20000, 5, 20005, 0, 0}, {36000, 8, 36008, 0, 0}, {UINT64_MAX - 7, 8, 0, 0, 0}};
  CHECK(map_stripe(image, extent, records, {}).payloads.size() == 1);
}
