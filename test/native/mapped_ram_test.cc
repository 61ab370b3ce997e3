// SPDX-License-Identifier: Apache-2.0
#include "core/image/mapped_ram.hh"

#include <doctest/doctest.h>

#include <random>

#include "core/frames/assembly.hh"
#include "core/frames/stripe.hh"
#include "image_builder.hh"

using namespace pars;
using test::ImageBuilder;
using test::page_of;

namespace {

using Pages = std::map<uint64_t, std::vector<uint8_t>>;

MigrationStream parsed(const ImageBuilder& image, uint64_t stream_offset) {
  auto stream = parse_mapped_ram(image.view(), stream_offset);
  if (!stream) FAIL(stream.error().what << " at " << stream.error().offset);
  return std::move(*stream);
}

void expect(const ImageBuilder& image, ErrorCode code, uint64_t offset) {
  const auto stream = parse_mapped_ram(image.view(), 0);
  REQUIRE(!stream);
  INFO(stream.error().what);
  CHECK(error_code_name(stream.error().code) == std::string(error_code_name(code)));
  CHECK(stream.error().offset == offset);
}

/// A stream at offset 0, up to where the caller goes on with the blocks of so much RAM.
ImageBuilder stream_of(uint64_t frames) {
  return ImageBuilder().mapped_stream().start("ram", ImageBuilder::kRamSection, 4).be64(frames << 12 | 0x004);
}

ImageBuilder sections(ImageBuilder image) { return image.eos().part().eos().end().eos(); }

void store_be64(ImageBuilder& image, uint64_t at, uint64_t value) {
  for (int i = 0; i < 8; ++i) image.bytes[at + i] = uint8_t(value >> 8 * (7 - i));
}

/// What a restore of every frame makes of the image behind the head; holes are zeros.
std::vector<uint8_t> rebuilt(Bytes image, const MigrationStream& stream, const PageClasses& classes,
                             bool lose = false) {
  std::vector<uint8_t> out(image.begin(), image.begin() + long(stream.stripes.front().image_offset));
  for (const Stripe& stripe : stream.stripes) {
    REQUIRE(stripe.image_offset == out.size());
    if (stripe.hole) {
      out.resize(out.size() + stripe.length);
      continue;
    }
    for (const StripeMap& map : split_stripe(map_stripe(image, {stripe.image_offset, stripe.length},
                                                        stripe_records(image, stream, stripe), classes))) {
      CHECK(map.extent.length <= kMaxStripeBytes);
      StripeParts parts{map.extent.offset, map.extent.length, {}};
      const auto frames = cut_stripe(image, map);
      for (const RawFrame& frame : frames)
        parts.parts[frame.kind] = {true, Loss::none, frame.bytes.size(), frame.bytes};
      for (uint8_t kind = 0; lose && kind < kFrameKinds; ++kind)
        if (expendable_kind(kind) && parts.parts[kind].present)
          parts.parts[kind].loss = Loss::in_place, parts.parts[kind].bytes = {};
      const auto assembly = Assembly::plan(parts);
      REQUIRE(assembly);
      REQUIRE(assembly->size() == map.extent.length);
      out.resize(out.size() + assembly->size());
      REQUIRE(assembly->write(std::span(out).last(assembly->size()), {}));
    }
  }
  return out;
}

PageClasses classes_of(const MigrationStream& stream, PageClass one) {
  PageClasses classes;
  for (const RamBlock& block : stream.blocks) classes.emplace_back(block.pages.size(), one);
  return classes;
}

}  // namespace

TEST_CASE("mapped-ram: blocks, pages and counts of a small image") {
  uint64_t offset = 0;
  const ImageBuilder image = test::small_sparse_image(&offset);
  const MigrationStream stream = parsed(image, offset);
  CHECK(stream.mapped);
  CHECK(stream.machine == "pc-i440fx-10.0");
  REQUIRE(stream.blocks.size() == 2);
  const RamBlock& ram = stream.blocks[0];
  CHECK(ram.name == "pc.ram");
  CHECK(ram.pages.size() == 67);
  for (const auto& [page, seed] : std::map<uint64_t, uint8_t>{{0, 1}, {1, 2}, {3, 3}, {66, 4}}) {
    REQUIRE(ram.pages[page] == ram.pages_offset + page * 4096);
    CHECK(std::memcmp(&image.bytes[ram.pages[page]], page_of(seed).data(), 4096) == 0);
  }
  CHECK(ram.pages[2] == kZeroPage);
  CHECK(ram.pages[65] == kZeroPage);
  CHECK(stream.payload_records == 5);
  CHECK(stream.zero_records == 65);
  CHECK(std::memcmp(&image.bytes[stream.ram_end], "\x04\0\0\0\x05\x05timer", 11) == 0);
}

TEST_CASE(
    "mapped-ram: a clear bit is a zero page, whatever lies in its place; VMCOREINFO counts only with its "
    "bit") {
  std::vector<uint8_t> note = page_of(0);
  std::memcpy(note.data(), "OSRELEASE=6.1", 13);
  ImageBuilder image = sections(stream_of(8).mapped_block("pc.ram", 8, {{1, note}, {2, note}}));
  const uint64_t bitmap = parsed(image, 0).blocks[0].bitmap_offset;
  image.bytes[bitmap] = 1 << 2;
  const MigrationStream stream = parsed(image, 0);
  CHECK(stream.blocks[0].pages[1] == kZeroPage);
  CHECK(stream.vmcoreinfo == std::vector<uint64_t>{stream.blocks[0].pages[2]});
  const std::vector<uint8_t> after = rebuilt(image.view(), stream, classes_of(stream, PageClass::anon));
  const uint8_t* const stale = &after[stream.blocks[0].pages_offset + 4096];
  CHECK(std::all_of(stale, stale + 4096, [](uint8_t b) { return b == 0; }));
}

TEST_CASE("mapped-ram: errors before the first block") {
  SUBCASE("a stream of records") {
    expect(ImageBuilder().stream_header().ram_start({{"pc.ram", 4096}}), ErrorCode::unsupported_layout, 26);
  }
  SUBCASE("no stream") { expect(ImageBuilder().be64(0).be64(0), ErrorCode::bad_magic, 0); }
  SUBCASE("another capability too") {
    ImageBuilder image =
        ImageBuilder().stream_header().subsection("configuration/capabilities").be32(2).text8("mapped-ram");
    const uint64_t at = image.at();
    expect(image.text8("x-ignore-shared"), ErrorCode::unsupported_layout, at);
  }
}

TEST_CASE("mapped-ram: errors in a block's header") {
  ImageBuilder image = stream_of(8).text8("pc.ram").be64(8 << 12);
  const uint64_t here = image.at(), bitmap = here + 28;
  const auto with = [&](uint64_t bits, uint64_t pages, uint32_t version = 1, uint64_t page_bytes = 4096) {
    return ImageBuilder(image).mapped_header(bits, pages, version, page_bytes).zeros(64 << 10);
  };
  CHECK(parse_mapped_ram(sections(stream_of(8).mapped_block("pc.ram", 8, {})).view(), 0));
  SUBCASE("cut") { expect(ImageBuilder(image).be32(1).be64(4096), ErrorCode::truncated, here + 12); }
  SUBCASE("version") { expect(with(bitmap, 4096, 2), ErrorCode::unsupported_version, here); }
  SUBCASE("page size") { expect(with(bitmap, 4096, 1, 65536), ErrorCode::unsupported_layout, here + 4); }
  for (uint64_t bits :
       std::vector<uint64_t>{0, bitmap - 1, bitmap + 1, bitmap + 8, 1ull << 40, ~0ull, 1ull << 63}) {
    CAPTURE(bits);
    expect(with(bits, 4096), ErrorCode::bad_offset, here + 12);
  }
  for (uint64_t pages : {0ull, 4095ull, 4097ull, 1ull << 40, ~0ull, ~0ull << 12, 1ull << 63}) {
    CAPTURE(pages);
    expect(with(bitmap, pages), ErrorCode::bad_offset, here + 20);
  }
  SUBCASE("past the end") { expect(with(bitmap, 1 << 20), ErrorCode::truncated, here + 20); }
  SUBCASE("partly past the end") { expect(with(bitmap, 60 << 10), ErrorCode::truncated, here + 20); }
}

TEST_CASE("mapped-ram: two blocks cannot share bitmap or pages") {
  ImageBuilder image = stream_of(16).mapped_block("a", 8, {{0, page_of(1)}});
  const uint64_t header = image.at() + 2 + 8;
  image.mapped_block("b", 8, {});
  const RamBlock first = std::move(parsed(sections(image), 0).blocks[0]);
  ImageBuilder bits = sections(image), pages = bits;
  store_be64(bits, header + 12, first.bitmap_offset);
  expect(bits, ErrorCode::bad_offset, header + 12);
  store_be64(pages, header + 20, first.pages_offset);
  expect(pages, ErrorCode::bad_offset, header + 20);
}

TEST_CASE("mapped-ram: bits of pages that a block does not have") {
  ImageBuilder image = sections(stream_of(67).mapped_block("pc.ram", 67, {}));
  const uint64_t bitmap = parsed(image, 0).blocks[0].bitmap_offset;
  for (uint64_t bit : {67ull, 71ull, 72ull, 127ull}) {
    CAPTURE(bit);
    ImageBuilder damaged = image;
    damaged.bytes[bitmap + bit / 8] |= uint8_t(1 << bit % 8);
    expect(damaged, ErrorCode::bad_flags, bitmap + 8);
  }
}

TEST_CASE("mapped-ram: errors between the sections") {
  ImageBuilder image = stream_of(8).mapped_block("pc.ram", 8, {});
  const uint64_t here = image.at();
  SUBCASE("cut") { expect(image, ErrorCode::truncated, here); }
  SUBCASE("a page") { expect(image.page_in("pc.ram", 0, page_of(1)), ErrorCode::bad_flags, here); }
  SUBCASE("a zero page") { expect(image.zero_in("pc.ram", 0), ErrorCode::bad_flags, here); }
  SUBCASE("a stub's hole") { expect(image.zeros(4096), ErrorCode::bad_flags, here); }
  SUBCASE("a page in a later section") {
    const uint64_t page = image.eos().part().at();
    expect(image.page_in("pc.ram", 0, page_of(1)), ErrorCode::bad_flags, page);
  }
  SUBCASE("another section") {
    expect(image.eos().start("dirty-bitmap", 3, 1), ErrorCode::unsupported_layout, here + 13);
  }
  SUBCASE("no end") { expect(image.eos().part().eos(), ErrorCode::truncated, here + 31); }
}

TEST_CASE("mapped-ram: cut anywhere, it is an error within the image") {
  const ImageBuilder image = sections(stream_of(4).mapped_block("pc.ram", 4, {{1, page_of(1)}}));
  for (size_t bytes = 0; bytes < image.bytes.size(); ++bytes) {
    const auto stream = parse_mapped_ram(image.view().first(bytes), 0);
    REQUIRE(!stream);
    REQUIRE(stream.error().offset <= bytes);
  }
}

TEST_CASE("mapped-ram: stripes and holes cover everything and give it back") {
  std::mt19937 random(7);
  Pages pages;
  for (uint64_t frame = 0; frame < 20000; ++frame) {
    const bool hole = (frame >= 3000 && frame < 9000) || frame >= 19000,
               scattered = frame > 14000 && frame % 200;
    if (hole || scattered || (frame < 14000 && random() % 5 == 0)) continue;
    pages[frame] = random() % 10 ? page_of(uint8_t(random())) : std::vector<uint8_t>(4096, 0xaa);
  }
  ImageBuilder image = stream_of(20000 + 300).mapped_block("pc.ram", 20000, pages);
  image.mapped_block("vga.vram", 300, {{299, page_of(9)}});
  image = sections(image);
  test::add_devices(image);
  const MigrationStream stream = parsed(image, 0);
  uint64_t holes = 0, payload = 0, places = 0;
  for (const Stripe& stripe : stream.stripes) {
    holes += stripe.hole ? stripe.length / 4096 : 0, payload += stripe.payload_pages;
    const auto records = stripe_records(image.view(), stream, stripe);
    places += records.size();
    CHECK(uint64_t(std::count_if(records.begin(), records.end(),
                                 [](const PageRecord& r) { return !r.zero; })) == stripe.payload_pages);
    CHECK(stripe.payload_pages <= kStripePages);
  }
  CHECK(payload == stream.payload_records);
  CHECK(holes + places == 20000 + 300);
  CHECK(holes > 6000 + 1000);
  CHECK(holes < 6000 + 1000 + 299 + 300);
  CHECK(rebuilt(image.view(), stream, classes_of(stream, PageClass::anon)) == image.bytes);
}

TEST_CASE("mapped-ram: what is lost is zero, and all else keeps its place") {
  uint64_t offset = 0;
  const ImageBuilder image = test::small_sparse_image(&offset);
  const MigrationStream stream = parsed(image, offset);
  PageClasses classes = classes_of(stream, PageClass::kernel);
  classes[0][1] = PageClass::free_page, classes[0][3] = PageClass::clean_cache;
  std::vector<uint8_t> expected = image.bytes;
  for (uint64_t page : {1, 3})
    std::fill_n(expected.begin() + long(stream.blocks[0].pages[page]), 4096, uint8_t(0));
  CHECK(rebuilt(image.view(), stream, classes, true) == expected);
}

TEST_CASE("mapped-ram: a lost page cannot be packed, for no record stands before it") {
  const ImageBuilder image = sections(stream_of(1).mapped_block("pc.ram", 1, {{0, page_of(1)}}));
  const MigrationStream stream = parsed(image, 0);
  const Stripe& stripe = stream.stripes.front();
  const auto map = map_stripe(image.view(), {0, stripe.length}, stripe_records(image.view(), stream, stripe),
                              classes_of(stream, PageClass::free_page));
  StripeParts parts{0, stripe.length, {}};
  const auto frames = cut_stripe(image.view(), map);
  for (const RawFrame& frame : frames)
    parts.parts[frame.kind] = {true, frame.kind == 1 ? Loss::packed : Loss::none, frame.bytes.size(),
                               frame.bytes};
  const auto assembly = Assembly::plan(parts);
  REQUIRE(assembly);
  std::vector<uint8_t> out(assembly->size());
  const Status written = assembly->write(out, {});
  REQUIRE(!written);
  CHECK(written.error().code == ErrorCode::corrupt);
}
