// SPDX-License-Identifier: Apache-2.0
#include "core/image/device_state.hh"

#include <doctest/doctest.h>

#include "core/image/device_description.hh"
#include "image_builder.hh"

using namespace pars;
using test::ImageBuilder;

namespace {

/// Device state alone: the RAM ends at offset 0.
MigrationStream behind_nothing() { return {}; }

void expect(const ImageBuilder& image, ErrorCode code, uint64_t offset) {
  const auto vcpus = read_vcpus(image.view(), behind_nothing());
  REQUIRE(!vcpus);
  INFO(vcpus.error().what);
  CHECK(error_code_name(vcpus.error().code) == std::string(error_code_name(code)));
  CHECK(vcpus.error().offset == offset);
}

ImageBuilder devices() {
  ImageBuilder image;
  test::add_devices(image);
  return image;
}

Result<std::vector<DeviceDescription>> described(std::string_view devices) {
  return parse_device_description("{\"devices\":[" + std::string(devices) + "]}", 1000);
}

}  // namespace

TEST_CASE("device state: the registers of every vCPU") {
  const auto vcpus = read_vcpus(devices().view(), behind_nothing());
  if (!vcpus) FAIL(vcpus.error().what);
  REQUIRE(vcpus->size() == 2);
  CHECK((*vcpus)[0].instance == 0);
  CHECK((*vcpus)[0].cr0 == 0x80050033);
  CHECK((*vcpus)[0].cr3 == 0x1000);
  CHECK((*vcpus)[0].cr4 == 0x6f0);
  CHECK((*vcpus)[0].rip == 0xffffffff81000000);
  CHECK((*vcpus)[0].paging());
  CHECK((*vcpus)[1].instance == 1);
  CHECK((*vcpus)[1].cr3 == 0x2000);
}

TEST_CASE("device state: behind a whole stream, padded or not") {
  for (const size_t padding : {0, 1, 511, 1 << 20}) {
    uint64_t offset = 0;
    ImageBuilder image = test::small_image(&offset).zeros(padding);
    const auto stream = parse_migration_stream(image.view(), offset);
    REQUIRE(stream);
    const auto vcpus = read_vcpus(image.view(), *stream);
    REQUIRE(vcpus);
    CHECK(vcpus->size() == 2);
  }
}

TEST_CASE("device state: commands may stand between sections") {
  ImageBuilder image = ImageBuilder().command(11);
  test::add_devices(image);
  CHECK(read_vcpus(image.view(), behind_nothing()));
}

TEST_CASE("device state: a length whose bytes are 0x06 does not mislead the search") {
  std::string json = test::description_of({});
  json.insert(json.size() - 1, 0x0606 - json.size(), ' ');
  const auto vcpus = read_vcpus(ImageBuilder().description(json).zeros(3).view(), behind_nothing());
  REQUIRE(vcpus);
  CHECK(vcpus->empty());
}

TEST_CASE("device state: what is not where it should be") {
  ImageBuilder image = devices();
  SUBCASE("nothing") { expect(ImageBuilder(), ErrorCode::truncated, 0); }
  SUBCASE("zeros") { expect(ImageBuilder().zeros(5000), ErrorCode::truncated, 0); }
  SUBCASE("no description") {
    expect(ImageBuilder().device("timer", 0, "0123456789"), ErrorCode::truncated, 34);
  }
  SUBCASE("a description cut short") {
    image.bytes.resize(image.at() - 5);
    expect(image, ErrorCode::truncated, image.at());
  }
  SUBCASE("another device") { image.bytes[6] = 'T', expect(image, ErrorCode::bad_offset, 0); }
  SUBCASE("another type") { image.bytes[0] = 1, expect(image, ErrorCode::bad_offset, 0); }
  SUBCASE("another instance") { image.bytes[14] = 1, expect(image, ErrorCode::bad_offset, 0); }
  SUBCASE("no footer") { image.bytes[29] = 0, expect(image, ErrorCode::bad_offset, 29); }
  SUBCASE("another's footer") { image.bytes[33] = 99, expect(image, ErrorCode::bad_offset, 29); }
  SUBCASE("an undescribed device") {
    ImageBuilder more = ImageBuilder().device("timer", 0, "0123456789").description(test::description_of({}));
    expect(more, ErrorCode::bad_offset, 0);
  }
  SUBCASE("a described device that is not there") {
    expect(ImageBuilder().description(test::description_of({test::vcpu_description(0)})),
           ErrorCode::bad_offset, 0);
  }
  SUBCASE("no JSON") { expect(ImageBuilder().description("{\"devices\":[}"), ErrorCode::bad_text, 19); }
}

TEST_CASE("device state: a vCPU whose registers are not described") {
  const std::string description = R"({"name":"cpu","instance_id":0,"fields":[{"name":"env.eip","size":8}]})";
  expect(ImageBuilder().device("cpu", 0, "01234567").description(test::description_of({description})),
         ErrorCode::bad_text, 0);
}

TEST_CASE("description: sizes of arrays, structs and subsections of subsections") {
  const auto devices =
      described(R"({"name":"a","instance_id":3,"vmsd_name":"a","version":1,"fields":[)"
                R"({"name":"x","size":2},{"name":"y","array_len":5,"size":4},)"
                R"({"name":"z","struct":{"vmsd_name":"zz","fields":[{"name":"q","size":999}],)"
                R"("subsections":[{"vmsd_name":"n","fields":[]}]},"size":7}],)"
                R"("subsections":[{"vmsd_name":"a/b","version":1,"fields":[{"name":"t","size":1}],)"
                R"("subsections":[{"vmsd_name":"a/b/c","version":1,"fields":[{"name":"u","size":1}]}]}]})");
  REQUIRE(devices);
  REQUIRE(devices->size() == 1);
  CHECK((*devices)[0].name == "a");
  CHECK((*devices)[0].instance == 3);
  CHECK((*devices)[0].bytes == 2 + 20 + 7 + (6 + 3 + 1) + (6 + 5 + 1));
}

TEST_CASE("description: registers count only as a vCPU's own fields") {
  const auto devices =
      described(test::vcpu_description(0) + R"(,{"name":"other","fields":[{"name":"env.cr[0]","size":8}]})");
  REQUIRE(devices);
  CHECK((*devices)[0].registers == std::array<uint64_t, 4>{136, 152, 160, 128});
  CHECK((*devices)[1].registers[0] == kNoField);
}

TEST_CASE("description: what is refused") {
  const auto code = [](std::string_view text) {
    const auto devices = described(text);
    REQUIRE(!devices);
    CHECK(devices.error().offset >= 1000);
    return devices.error().code;
  };
  CHECK(code(R"({"name":"a","fields":[{"size":-1}]})") == ErrorCode::bad_length);
  CHECK(code(R"({"name":"a","fields":[{"size":1.5}]})") == ErrorCode::bad_length);
  CHECK(code(R"({"name":"a","fields":[{"size":18446744073709551615}]})") == ErrorCode::bad_length);
  CHECK(code(R"({"name":"a","fields":[{"size":65536,"array_len":18446744073709551615}]})") ==
        ErrorCode::bad_length);
  CHECK(code(R"({"name":"a","fields":[{"size":4294967296},{"size":4294967296}]})") == ErrorCode::bad_length);
  CHECK(code(std::string(100, '[') + std::string(100, ']')) == ErrorCode::limit);
  CHECK(code("{") == ErrorCode::bad_text);
  std::string many;
  for (size_t i = 0; i <= kMaxDevices; ++i) many += i ? ",{}" : "{}";
  CHECK(code(many) == ErrorCode::limit);
  CHECK(parse_device_description(std::string(kMaxDescriptionBytes + 1, ' '), 0).error().code ==
        ErrorCode::limit);
}
