// SPDX-License-Identifier: Apache-2.0
#include "core/image/migration_stream.hh"

#include <doctest/doctest.h>

#include "image_builder.hh"

using namespace pars;
using test::ImageBuilder;
using test::page_of;

namespace {

MigrationStream parsed(const ImageBuilder& image, uint64_t stream_offset) {
  auto stream = parse_migration_stream(image.view(), stream_offset);
  if (!stream) FAIL(stream.error().what << " at " << stream.error().offset);
  return std::move(*stream);
}

void expect(const ImageBuilder& image, uint64_t stream_offset, ErrorCode code, uint64_t offset) {
  for (const auto& stream : {parse_migration_stream(image.view(), stream_offset),
                             parse_migration_stream_plainly(image.view(), stream_offset)}) {
    REQUIRE(!stream);
    INFO(stream.error().what);
    CHECK(error_code_name(stream.error().code) == std::string(error_code_name(code)));
    CHECK(stream.error().offset == offset);
  }
}

/// A stream that begins at offset 0, up to where the caller goes on.
ImageBuilder stream_only() { return ImageBuilder().stream_header(); }
ImageBuilder ram_open() { return stream_only().ram_start({{"pc.ram", 8 << 12}}); }

}  // namespace

TEST_CASE("stream: blocks, pages and counts of a small image") {
  uint64_t offset = 0;
  const ImageBuilder image = test::small_image(&offset);
  const MigrationStream stream = parsed(image, offset);
  CHECK(stream.version == 3);
  CHECK(stream.machine == "pc-i440fx-7.2");
  REQUIRE(stream.blocks.size() == 2);
  CHECK(stream.blocks[0].name == "pc.ram");
  CHECK(stream.blocks[0].bytes == 64 << 12);
  CHECK(stream.blocks[0].pages.size() == 64);
  CHECK(stream.payload_records == 5);
  CHECK(stream.zero_records == 2);
  CHECK(stream.repeated_records == 1);
  CHECK(stream.stripes.empty());
  CHECK(std::memcmp(&image.bytes[stream.ram_end], "\x04\0\0\0\x05\x05timer", 11) == 0);
}

TEST_CASE("stream: the last record of a page wins, whatever it is") {
  ImageBuilder image = ram_open();
  image.page_in("pc.ram", 3, page_of(1)).page(4, page_of(2)).eos();
  image.part().page(3, page_of(3)).zero(4).zero(5).page(5, page_of(4)).eos().end().eos();
  const MigrationStream stream = parsed(image, 0);
  const PageIndex& pages = stream.blocks[0].pages;
  CHECK(std::memcmp(&image.bytes[pages[3]], page_of(3).data(), 4096) == 0);
  CHECK(pages[4] == kZeroPage);
  CHECK(std::memcmp(&image.bytes[pages[5]], page_of(4).data(), 4096) == 0);
  CHECK(pages[6] == kZeroPage);
  CHECK(stream.repeated_records == 2);
}

TEST_CASE("stream: VMCOREINFO candidates") {
  std::vector<uint8_t> note = page_of(0), almost = note;
  std::memcpy(note.data(), "OSRELEASE=6.1", 13);
  std::memcpy(almost.data(), "OSRELEASE:6.1", 13);
  ImageBuilder image = ram_open();
  image.page_in("pc.ram", 0, note);
  const uint64_t first = image.at() - 4096;
  image.page(1, almost).page(2, note);
  const uint64_t second = image.at() - 4096;
  image.eos().end().eos();
  CHECK(parsed(image, 0).vmcoreinfo == std::vector<uint64_t>{first, second});
}

TEST_CASE("stream: VMCOREINFO candidates, though a process plants thousands before the kernel's") {
  std::vector<uint8_t> note = page_of(0);
  std::memcpy(note.data(), "OSRELEASE=6.1", 13);
  constexpr uint64_t kPlanted = 5000;
  ImageBuilder image = stream_only().ram_start({{"pc.ram", (kPlanted + 1) * 4096}});
  image.page_in("pc.ram", 0, note);
  for (uint64_t i = 1; i <= kPlanted; i++) image.page(i, note);
  const uint64_t last = image.at() - 4096;
  image.eos().end().eos();
  const std::vector<uint64_t> found = parsed(image, 0).vmcoreinfo;
  REQUIRE(found.size() == kPlanted + 1);
  CHECK(found.back() == last);
}

TEST_CASE("stream: configuration subsections") {
  ImageBuilder image = stream_only().subsection("configuration/uuid").zeros(16);
  image.subsection("configuration/target-page-bits").be32(12);
  image.subsection("configuration/capabilities").be32(1).text8("harmless");
  image.ram_start({{"pc.ram", 1 << 12}}).eos().end().eos();
  CHECK(parsed(image, 0).blocks.size() == 1);
}

TEST_CASE("stream: old machine types write no configuration") {
  ImageBuilder image =
      ImageBuilder().be32(0x5145564d).be32(3).ram_start({{"pc.ram", 1 << 12}}).eos().end().eos();
  CHECK(parsed(image, 0).machine.empty());
}

TEST_CASE("stream: errors before the first record") {
  ImageBuilder image = stream_only();
  const uint64_t here = image.at();
  SUBCASE("nothing at all") { expect(ImageBuilder(), 0, ErrorCode::truncated, 0); }
  SUBCASE("offset behind the image") { expect(image, 1000, ErrorCode::truncated, here); }
  SUBCASE("magic") { image.bytes[0] = 'X', expect(image, 0, ErrorCode::bad_magic, 0); }
  SUBCASE("version") { image.bytes[7] = 4, expect(image, 0, ErrorCode::unsupported_version, 4); }
  SUBCASE("machine name without length") { image.bytes[12] = 0, expect(image, 0, ErrorCode::bad_length, 9); }
  SUBCASE("machine name of garbage") { image.bytes[13] = 1, expect(image, 0, ErrorCode::bad_text, 13); }
  SUBCASE("page size") {
    image.subsection("configuration/target-page-bits").be32(16);
    expect(image, 0, ErrorCode::unsupported_layout, image.at() - 4);
  }
  SUBCASE("mapped-ram") {
    image.subsection("configuration/capabilities").be32(1).text8("mapped-ram");
    expect(image, 0, ErrorCode::unsupported_layout, image.at() - 11);
  }
  SUBCASE("capabilities without end") {
    image.subsection("configuration/capabilities").be32(1000000);
    expect(image, 0, ErrorCode::limit, image.at() - 4);
  }
  SUBCASE("unknown configuration") {
    expect(image.subsection("configuration/new"), 0, ErrorCode::unsupported_layout, here);
  }
  SUBCASE("configuration's version") {
    expect(image.u8(5).text8("configuration/uuid").be32(2), 0, ErrorCode::unsupported_version, here);
  }
  SUBCASE("a device first") {
    expect(image.device("virtio-mem-early", 0, "x"), 0, ErrorCode::unsupported_layout, here);
  }
  SUBCASE("a dirty bitmap first") {
    expect(image.start("dirty-bitmap", 1, 1), 0, ErrorCode::unsupported_layout, here);
  }
  SUBCASE("RAM's version") { expect(image.start("ram", 2, 5), 0, ErrorCode::unsupported_version, here); }
  SUBCASE("packaged stream") { expect(image.command(8), 0, ErrorCode::unsupported_layout, here); }
  SUBCASE("cut") { image.start("ram", 2, 4), expect(image, 0, ErrorCode::truncated, image.at()); }
}

TEST_CASE("stream: errors in the list of blocks") {
  ImageBuilder image = stream_only().start("ram", 2, 4);
  const uint64_t here = image.at();
  SUBCASE("no size") { expect(image.be64(0x010), 0, ErrorCode::bad_flags, here); }
  SUBCASE("no RAM") { expect(image.be64(0x004), 0, ErrorCode::limit, here); }
  SUBCASE("more RAM than any host has") { expect(image.be64((16ull << 40) | 4), 0, ErrorCode::limit, here); }
  SUBCASE("more RAM than the image can account for") {
    expect(image.be64((1ull << 40) | 4), 0, ErrorCode::limit, here);
  }
  SUBCASE("block without a name") {
    expect(image.be64(0x1004).text8("").be64(4096), 0, ErrorCode::bad_text, here + 8);
  }
  SUBCASE("block with a bad name") {
    expect(image.be64(0x1004).text8("a\n").be64(4096), 0, ErrorCode::bad_text, here + 8);
  }
  SUBCASE("empty block") {
    expect(image.be64(0x1004).text8("a").be64(0), 0, ErrorCode::bad_length, here + 10);
  }
  SUBCASE("odd block") {
    expect(image.be64(0x2004).text8("a").be64(4097), 0, ErrorCode::bad_length, here + 10);
  }
  SUBCASE("block beyond the total") {
    expect(image.be64(0x1004).text8("a").be64(8192), 0, ErrorCode::bad_length, here + 10);
  }
  SUBCASE("two of a name") {
    expect(image.be64(0x2004).text8("a").be64(4096).text8("a").be64(4096), 0, ErrorCode::bad_text, here + 18);
  }
  SUBCASE("too many") {
    image.be64((2000ull << 12) | 4);
    for (int i = 0; i < 2000; ++i) image.text8(std::to_string(i)).be64(4096);
    const auto stream = parse_migration_stream(image.view(), 0);
    REQUIRE(!stream);
    CHECK(stream.error().code == ErrorCode::limit);
  }
}

TEST_CASE("stream: errors among the records") {
  ImageBuilder image = ram_open();
  const uint64_t first = image.at();
  SUBCASE("CONTINUE with nothing to continue") { expect(image.zero(0), 0, ErrorCode::bad_flags, first); }
  SUBCASE("unknown block") { expect(image.zero_in("other", 0), 0, ErrorCode::bad_text, first + 8); }
  SUBCASE("beyond the block") { expect(image.zero_in("pc.ram", 8), 0, ErrorCode::bad_offset, first); }
  SUBCASE("zero page of ones") {
    expect(image.be64(2).text8("pc.ram").u8(1), 0, ErrorCode::bad_flags, first);
  }
  SUBCASE("cut") { expect(image.be64(8).text8("pc.ram").zeros(4095), 0, ErrorCode::truncated, first); }
  SUBCASE("page and zero at once") { expect(image.be64(0x00a), 0, ErrorCode::bad_flags, first); }
  SUBCASE("stub record") {
    expect(image.raw(std::string_view("PARSST\\\x01", 8)), 0, ErrorCode::bad_flags, first);
  }
  SUBCASE("size again") { expect(image.be64(0x1004), 0, ErrorCode::bad_flags, first); }
  for (const uint64_t flag : {0x040, 0x080, 0x100, 0x200}) {
    SUBCASE(std::to_string(flag).c_str()) {
      expect(image.be64(flag), 0, ErrorCode::unsupported_layout, first);
    }
  }
}

TEST_CASE("stream: errors between the sections") {
  ImageBuilder image = ram_open().be64(0x010);
  const uint64_t footer = image.at(), next = footer + 5;
  SUBCASE("no footer") { expect(image.zeros(5), 0, ErrorCode::bad_magic, footer); }
  SUBCASE("another section's footer") { expect(image.footer(3), 0, ErrorCode::bad_magic, footer); }
  SUBCASE("cut in the footer") { expect(image.u8(0x7e), 0, ErrorCode::truncated, footer); }
  SUBCASE("cut behind it") { expect(image.footer(), 0, ErrorCode::truncated, next); }
  SUBCASE("end of the stream") { expect(image.footer().u8(0), 0, ErrorCode::truncated, next); }
  SUBCASE("dirty bitmaps") {
    expect(image.footer().start("dirty-bitmap", 3, 1), 0, ErrorCode::unsupported_layout, next);
  }
  SUBCASE("another's part") { expect(image.footer().u8(2).be32(3), 0, ErrorCode::unsupported_layout, next); }
  SUBCASE("a device") {
    expect(image.footer().device("early", 0, "x"), 0, ErrorCode::unsupported_layout, next);
  }
  SUBCASE("no section") { expect(image.footer().u8(0x77), 0, ErrorCode::bad_flags, next); }
  SUBCASE("postcopy") { expect(image.footer().command(6), 0, ErrorCode::unsupported_layout, next); }
  SUBCASE("cut in a command") { expect(image.footer().u8(8), 0, ErrorCode::truncated, next); }
}

TEST_CASE("stream: a few bytes that announce 64 GiB cost next to nothing") {
  ImageBuilder image = stream_only().ram_start({{"pc.ram", 64ull << 30}});
  image.page_in("pc.ram", (64ull << 18) - 1, page_of(1)).eos().end().eos();
  const MigrationStream stream = parsed(image, 0);
  CHECK(stream.blocks[0].pages.size() == 64ull << 18);
  CHECK(stream.blocks[0].pages[(64ull << 18) - 1] != kZeroPage);
}
