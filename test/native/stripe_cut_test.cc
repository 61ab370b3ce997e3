// SPDX-License-Identifier: Apache-2.0
// Where stripes begin and what is in them.
#include <doctest/doctest.h>

#include <algorithm>

#include "core/image/migration_stream.hh"
#include "image_builder.hh"

using namespace pars;
using test::ImageBuilder;
using test::page_of;

namespace {

constexpr uint64_t kFrames = 8192;

/// `pages` payload records, a zero record behind every 100th, a new section behind every 700th.
ImageBuilder long_image(uint64_t pages) {
  ImageBuilder image = test::image_with_ram(kFrames).part().zero_in("pc.ram", 0);
  for (uint64_t i = 0; i < pages; ++i) {
    image.page(1 + i % (kFrames - 1), page_of(uint8_t(i)));
    if (i % 100 == 99) image.zero(0);
    if (i % 700 == 699) image.eos().command(11).part();
    if (i % 1500 == 1499) image.page_in("vga.vram", i % 16, page_of(7)).page_in("pc.ram", 0, page_of(8));
  }
  image.eos().end().eos();
  test::add_devices(image);
  return image;
}

uint64_t stream_offset() {
  uint64_t offset = 0;
  test::image_with_ram(1, &offset);
  return offset;
}

}  // namespace

TEST_CASE("stripes: they begin behind the head, hold 2048 pages and cover the image to its end") {
  const ImageBuilder image = long_image(6000);
  const auto stream = parse_migration_stream(image.view(), stream_offset());
  REQUIRE(stream);
  const auto& stripes = stream->stripes;
  REQUIRE(stripes.size() == 3);
  CHECK(stripes[0].image_offset >= kHeadBytes);
  CHECK(stripes[0].image_offset < kHeadBytes + 5000);
  for (size_t i = 0; i + 1 < stripes.size(); ++i) {
    CHECK(stripes[i].payload_pages == kStripePages);
    CHECK(stripes[i].image_offset + stripes[i].length == stripes[i + 1].image_offset);
  }
  CHECK(stripes.back().payload_pages <= kStripePages);
  CHECK(stripes.back().image_offset + stripes.back().length == image.at());
}

TEST_CASE("stripes: their records are the stream's") {
  const ImageBuilder image = long_image(6000);
  const auto stream = parse_migration_stream(image.view(), stream_offset());
  REQUIRE(stream);
  uint64_t in_stripes = 0, current = 0;
  for (const Stripe& stripe : stream->stripes) {
    const auto records = stripe_records(image.view(), *stream, stripe);
    REQUIRE(records.size() == stripe.payload_pages);
    for (const PageRecord& record : records) {
      REQUIRE(record.payload == record.header + record.header_bytes);
      REQUIRE(record.payload + 4096 <= stripe.image_offset + stripe.length);
      current += stream->blocks[record.block].pages[record.page] == record.payload;
    }
    in_stripes += records.size();
  }
  CHECK(in_stripes < stream->payload_records);
  CHECK(current > in_stripes - 100);
}

TEST_CASE("stripes: an image that ends inside the head has none") {
  const ImageBuilder image = long_image(900);
  const auto stream = parse_migration_stream(image.view(), stream_offset());
  REQUIRE(stream);
  CHECK(image.at() < kHeadBytes);
  CHECK(stream->stripes.empty());
}

TEST_CASE("stripes: a zero record may be the first behind the head") {
  ImageBuilder image = test::image_with_ram(kFrames).part().zero_in("pc.ram", 0);
  while (image.at() < kHeadBytes - 8208) image.page(1, page_of(1));
  while (image.at() < kHeadBytes) image.zero(1);
  const uint64_t first = image.at();
  image.zero(2).page(3, page_of(3)).eos().end().eos();
  const auto stream = parse_migration_stream(image.view(), stream_offset());
  REQUIRE(stream);
  REQUIRE(stream->stripes.size() == 1);
  CHECK(stream->stripes[0].image_offset == first);
  CHECK(stream->stripes[0].payload_pages == 1);
}
