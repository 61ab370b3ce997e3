// SPDX-License-Identifier: Apache-2.0
#include "core/image/early_section.hh"

#include <doctest/doctest.h>

#include "core/image/device_state.hh"
#include "core/image/mapped_ram.hh"
#include "core/image/ram_walk.hh"
#include "image_builder.hh"
#include "stream_compare.hh"

using namespace pars;
using test::ImageBuilder;
using test::page_of;

namespace {

constexpr std::string_view kName = "0000:00:01.1:00.0/virtio-mem-device-early";
constexpr uint64_t kMiB = 1 << 20;

struct VirtioMem {
  uint64_t region = 200 * 2 * kMiB, block = 2 * kMiB;
  size_t words = 4;  // of its bitmap: 200 blocks

  uint64_t bytes() const { return 8 + 8 + 8 + 4 + 8 + words * 8; }
  std::string contents() const {
    ImageBuilder out;
    out.be64(0x100000000).be64(region).be64(block).be32(0).be64(64 * kMiB).zeros(words * 8);
    return {out.bytes.begin(), out.bytes.end()};
  }
};

ImageBuilder& early(ImageBuilder& image, const VirtioMem& memory = {}, uint32_t version = 1) {
  image.u8(4).be32(77).text8(kName).be32(0).be32(version).raw(memory.contents());
  return image.footer(77);
}

std::string described(uint64_t bytes) {
  return R"({"name":")" + std::string(kName) +
         R"(","instance_id":0,"vmsd_name":"early","version":1,"fields":[)" +
         R"({"name":"tmp","size":28},{"name":"size","size":8},{"name":"bitmap","size":)" +
         std::to_string(bytes - 36) + "}]}";
}

ImageBuilder& rest(ImageBuilder& image, const std::string& first) {
  image.part().page_in("pc.ram", 0, page_of(1)).eos().end().page(1, page_of(2)).eos();
  image.device("cpu", 0, test::vcpu_contents(0x80050033, 0x1000, 0x6f0, 0xffffffff81000000));
  std::vector<std::string> devices = {test::vcpu_description(0)};
  if (!first.empty()) devices.insert(devices.begin(), first);
  return image.description(test::description_of(devices));
}

ImageBuilder opened() { return ImageBuilder().stream_header("pc-q35-10.0"); }
ImageBuilder behind_start() { return opened().ram_start({{"pc.ram", 8 << 12}}).eos(); }

MigrationStream parsed(const ImageBuilder& image) {
  auto stream = parse_migration_stream(image.view(), 0);
  if (!stream) FAIL(stream.error().what << " at " << stream.error().offset);
  CHECK(test::difference(stream, parse_migration_stream_plainly(image.view(), 0)).empty());
  CHECK(test::difference(stream, stream::parse_in_two(image.view(), 0, 0)).empty());
  return std::move(*stream);
}

void expect(const ImageBuilder& image, ErrorCode code, uint64_t offset) {
  const auto stream = parse_migration_stream(image.view(), 0);
  REQUIRE(!stream);
  INFO(stream.error().what);
  CHECK(error_code_name(stream.error().code) == std::string(error_code_name(code)));
  CHECK(stream.error().offset == offset);
}

}  // namespace

TEST_CASE("early sections: virtio-mem's, behind the list of blocks or before it") {
  ImageBuilder image;
  SUBCASE("behind") { image = behind_start(), early(image); }
  SUBCASE("before") { image = opened(), early(image).ram_start({{"pc.ram", 8 << 12}}).eos(); }
  rest(image, described(VirtioMem{}.bytes()));
  const MigrationStream stream = parsed(image);
  REQUIRE(stream.early.size() == 1);
  CHECK(stream.early[0] == EarlySection{std::string(kName), 0, VirtioMem{}.bytes()});
  CHECK(stream.payload_records == 2);
  const auto vcpus = read_vcpus(image.view(), stream);
  REQUIRE(vcpus);
  CHECK(vcpus->size() == 1);
}

TEST_CASE("early sections: two devices, in the order of the stream") {
  ImageBuilder image = behind_start();
  const VirtioMem large{1ull << 30, kMiB, 16};
  early(image), early(image, large);
  rest(image, described(VirtioMem{}.bytes()) + "," + described(large.bytes()));
  const MigrationStream stream = parsed(image);
  REQUIRE(stream.early.size() == 2);
  CHECK(stream.early[1].bytes == large.bytes());
  CHECK(read_vcpus(image.view(), stream).ok());
}

TEST_CASE("early sections: in a sparse image") {
  ImageBuilder image = ImageBuilder().mapped_stream();
  image.start("ram", ImageBuilder::kRamSection, 4).be64((67ull << 12) | 0x004);
  image.mapped_block("pc.ram", 67, {{0, page_of(1)}}).eos();
  early(image).part().eos().end().eos();
  const auto stream = parse_mapped_ram(image.view(), 0, {});
  REQUIRE(stream);
  CHECK(stream->early.size() == 1);
}

TEST_CASE("early sections: what is not as it should be") {
  ImageBuilder image = behind_start();
  const uint64_t at = image.at(), contents = at + 5 + 1 + kName.size() + 8;
  SUBCASE("version") { expect(early(image, {}, 2), ErrorCode::unsupported_version, at); }
  SUBCASE("no blocks") { expect(early(image, {kMiB, 0, 4}), ErrorCode::bad_length, contents + 8); }
  SUBCASE("odd blocks") { expect(early(image, {kMiB, 3 << 20, 4}), ErrorCode::bad_length, contents + 8); }
  SUBCASE("small blocks") { expect(early(image, {kMiB, 4096, 4}), ErrorCode::bad_length, contents + 8); }
  SUBCASE("part of a block") {
    expect(early(image, {3 * kMiB, 2 * kMiB, 4}), ErrorCode::bad_length, contents + 8);
  }
  SUBCASE("more than any host has") {
    expect(early(image, {1ull << 60, kMiB, 4}), ErrorCode::bad_length, contents + 8);
  }
  SUBCASE("a field more") { expect(early(image, {64 * kMiB, kMiB, 2}), ErrorCode::bad_magic, contents + 44); }
  SUBCASE("another's footer") {
    early(image).bytes.back() ^= 1;
    expect(image, ErrorCode::bad_magic, image.at() - 5);
  }
  SUBCASE("cut in its fields") {
    early(image).bytes.resize(contents + 20);
    expect(image, ErrorCode::truncated, contents + 8);
  }
  SUBCASE("cut in its bitmap") {
    early(image).bytes.resize(contents + 40);
    expect(image, ErrorCode::truncated, contents + 36);
  }
}

TEST_CASE("early sections: a description that tells of others") {
  const VirtioMem memory;
  std::string first;
  SUBCASE("none") {}
  SUBCASE("another length") { first = described(memory.bytes() + 8); }
  SUBCASE("another name") { first = described(memory.bytes()).replace(9, 1, "9"); }
  ImageBuilder image = behind_start();
  rest(early(image), first);
  const MigrationStream stream = parsed(image);
  CHECK_FALSE(read_vcpus(image.view(), stream).ok());
}
