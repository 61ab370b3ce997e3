// SPDX-License-Identifier: Apache-2.0
#include "core/image/save_image.hh"

#include <doctest/doctest.h>

#include "image_builder.hh"

using namespace pars;
using test::ImageBuilder;

namespace {

ImageBuilder header() { return ImageBuilder().libvirt_header("<domain/>", 10); }

void expect(const ImageBuilder& image, ErrorCode code, uint64_t offset) {
  const auto parsed = parse_save_image(image.view());
  REQUIRE(!parsed);
  CHECK(error_code_name(parsed.error().code) == std::string(error_code_name(code)));
  CHECK(parsed.error().offset == offset);
  CHECK(!parsed.error().what.empty());
}

}  // namespace

TEST_CASE("save image: header, XML and where the stream begins") {
  const ImageBuilder image = header().raw("QEVM");
  const auto parsed = parse_save_image(image.view());
  REQUIRE(parsed);
  CHECK(parsed->version == 2);
  CHECK(parsed->was_running == 1);
  CHECK(parsed->format == SaveFormat::raw);
  CHECK(parsed->xml == "<domain/>");
  CHECK(parsed->stream_offset == image.at() - 4);
}

TEST_CASE("save image: every format libvirt writes has a name") {
  CHECK(std::string(save_format_name(0)) == "raw");
  CHECK(std::string(save_format_name(5)) == "zstd");
  CHECK(std::string(save_format_name(6)) == "sparse");
  CHECK(save_format_name(7) == nullptr);
}

TEST_CASE("save image: errors say what and where") {
  ImageBuilder image = header();
  SUBCASE("empty") { expect(ImageBuilder(), ErrorCode::truncated, 0); }
  SUBCASE("cut in the header") { image.bytes.resize(91), expect(image, ErrorCode::truncated, 91); }
  SUBCASE("cut in the XML") { image.bytes.resize(100), expect(image, ErrorCode::truncated, 100); }
  SUBCASE("another file") { image.bytes[0] = 'X', expect(image, ErrorCode::bad_magic, 0); }
  SUBCASE("unfinished") {
    std::memcpy(&image.bytes[12], "Part", 4), expect(image, ErrorCode::partial_image, 0);
  }
  SUBCASE("newer version") { image.bytes[16] = 3, expect(image, ErrorCode::unsupported_version, 16); }
  SUBCASE("other endianness") {
    image.bytes[16] = 0, image.bytes[19] = 2, expect(image, ErrorCode::unsupported_version, 16);
  }
  SUBCASE("no data") { std::memset(&image.bytes[20], 0, 4), expect(image, ErrorCode::bad_length, 20); }
  SUBCASE("endless data") { image.bytes[23] = 0xff, expect(image, ErrorCode::bad_length, 20); }
  SUBCASE("unknown format") { image.bytes[28] = 7, expect(image, ErrorCode::unsupported_format, 28); }
  SUBCASE("no XML") { image.bytes[92] = 0, expect(image, ErrorCode::bad_text, 92); }
  SUBCASE("XML without an end") {
    std::memset(&image.bytes[92], 'x', image.bytes.size() - 92);
    expect(image, ErrorCode::bad_text, 92);
  }
}
