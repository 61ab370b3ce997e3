// SPDX-License-Identifier: Apache-2.0
#include "core/frames/disk_reference.hh"

#include <doctest/doctest.h>

#include "core/frames/assembly.hh"
#include "core/frames/stripe.hh"
#include "image_builder.hh"

using namespace pars;
using test::ImageBuilder;
using test::page_of;

namespace {

constexpr uint64_t kPages = 1200;

/// An image of which pages are on a disk too, at places of the test's.
struct Sample {
  ImageBuilder image;
  MigrationStream stream;
  PageClasses classes;
  std::vector<uint64_t> payloads;  // of the stripe behind the head

  Sample() {
    image.libvirt_header();
    const uint64_t start = image.at();
    image.stream_header().ram_start({{"pc.ram", kPages << 12}}).eos().part();
    image.page_in("pc.ram", 0, page_of(0));
    for (uint64_t i = 1; i < kPages; i++) image.page(i, page_of(static_cast<uint8_t>(i)));
    image.eos().end().eos();
    stream = std::move(*parse_migration_stream(image.view(), start));
    classes.assign(1, std::vector<PageClass>(kPages, PageClass::mapped_cache));
    for (const PageRecord& record : stripe_records(image.view(), stream, stripe()))
      payloads.push_back(record.payload);
  }
  const Stripe& stripe() const { return stream.stripes.front(); }
  StripeMap map(const std::vector<PageReference>& references) const {
    const auto records = stripe_records(image.view(), stream, stripe());
    return map_stripe(image.view(), {stripe().image_offset, stripe().length}, records, classes, references);
  }
  Bytes page(size_t i) const { return image.view().subspan(payloads[i], 4096); }
};

const RawFrame* frame_of(const std::vector<RawFrame>& frames, uint8_t kind) {
  for (const RawFrame& frame : frames)
    if (frame.kind == kind) return &frame;
  return nullptr;
}

}  // namespace

TEST_CASE("pages that follow each other on a disk become runs, and their stripe comes back from them") {
  Sample sample;
  std::vector<PageReference> references;
  for (size_t i = 0; i < 70; i++) references.push_back({sample.payloads[i], {8192 + 4096 * i, 3}});
  references.push_back({sample.payloads[90], {512, 4}});
  const auto frames = cut_stripe(sample.image.view(), sample.map(references));
  const RawFrame* disk = frame_of(frames, kDiskFrame);
  REQUIRE(disk);
  CHECK(disk->pages == 71);
  const auto runs = decode_references(disk->bytes);
  REQUIRE(runs);
  REQUIRE(runs->size() == 4);
  CHECK((*runs)[0].pages == kMaxRunPages);
  CHECK((*runs)[1].place == DiskPlace{8192 + 4096 * 32, 3});
  CHECK((*runs)[2].pages == 6);
  CHECK((*runs)[3].place == DiskPlace{512, 4});
  CHECK((*runs)[3].page_class == PageClass::mapped_cache);
  CHECK((*runs)[3].digest == digest_of(sample.page(90)));

  std::vector<uint8_t> pages;
  for (size_t i = 0; i < 70; i++) pages.insert(pages.end(), sample.page(i).begin(), sample.page(i).end());
  pages.insert(pages.end(), sample.page(90).begin(), sample.page(90).end());
  StripeParts parts{sample.stripe().image_offset, sample.stripe().length, {}};
  for (const RawFrame& frame : frames)
    parts.parts[frame.kind] = {true, Loss::none, frame.bytes.size(), frame.bytes};
  parts.parts[kDiskFrame] = {true, Loss::none, pages.size(), pages};
  const auto assembly = Assembly::plan(parts);
  REQUIRE(assembly);
  std::vector<uint8_t> out(assembly->size());
  REQUIRE(assembly->write(out, {}));
  const Bytes original = sample.image.view().subspan(sample.stripe().image_offset, sample.stripe().length);
  CHECK(std::equal(out.begin(), out.end(), original.begin(), original.end()));

  SUBCASE("nothing is written into what a disk holds") {
    CHECK(!assembly->write(out, {{sample.payloads[5], 1, 0}}));
    CHECK(!targets_are_critical(sample.map(references), std::vector<uint64_t>{sample.payloads[5]}));
    CHECK(targets_are_critical(sample.map(references), std::vector<uint64_t>{sample.payloads[100]}));
  }
  SUBCASE("pages that are missing are noticed") {
    parts.parts[kDiskFrame].raw_bytes -= 4096,
        parts.parts[kDiskFrame].bytes = Bytes(pages).first(pages.size() - 4096);
    CHECK(!Assembly::plan(parts));
  }
}

TEST_CASE("runs are of one class and one disk") {
  Sample sample;
  for (size_t page = 0; page < kPages; page++)
    sample.classes[0][page] = page % 2 ? PageClass::clean_cache : PageClass::mapped_cache;
  std::vector<PageReference> references;
  for (size_t i = 0; i < 4; i++) references.push_back({sample.payloads[i], {4096 * i, 0}});
  const auto frames = cut_stripe(sample.image.view(), sample.map(references));
  const auto runs = decode_references(frame_of(frames, kDiskFrame)->bytes);
  REQUIRE(runs);
  CHECK(runs->size() == 4);
}

TEST_CASE("a table of references that no reader writes is corrupt") {
  const DiskRun good{{4096, 1}, 3, PageClass::clean_cache, {}};
  const auto table = encode_references({good, good});
  REQUIRE(decode_references(table));
  const auto broken = [&](size_t at, uint8_t value) {
    auto bytes = table;
    bytes[at] = value;
    return !decode_references(bytes);
  };
  CHECK(broken(0, 2));
  CHECK_MESSAGE(broken(4, 3), "more runs than there are bytes");
  CHECK_MESSAGE(broken(4, 1), "bytes behind the last");
  CHECK_MESSAGE(broken(8, 1), "an offset within a sector");
  CHECK_MESSAGE(broken(8 + 7, 0x20), "an offset past any disk");
  CHECK_MESSAGE(broken(8 + 10, 0), "no pages");
  CHECK_MESSAGE(broken(8 + 10, 33), "too many pages");
  CHECK_MESSAGE(broken(8 + 12, kPageClasses), "no class");
  CHECK_MESSAGE(broken(8 + 13, 1), "a byte that must be zero");
  CHECK(!decode_references(Bytes(table).first(7)));
  CHECK(!decode_references(Bytes{}));
}
