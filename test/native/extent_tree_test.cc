// SPDX-License-Identifier: Apache-2.0
#include "core/pages/extent_tree.hh"

#include <doctest/doctest.h>

#include <map>

using namespace pars;

namespace {

/// A node as ext4 writes it, or with a field wrong.
class NodeBytes {
 public:
  NodeBytes(uint16_t depth, size_t bytes, uint16_t entries = 0) : bytes_(bytes) {
    put(0, 0xf30a, 2), put(2, entries, 2), put(4, (bytes - 12) / 12, 2), put(6, depth, 2);
  }
  NodeBytes& leaf(uint32_t first, uint16_t blocks, uint64_t start) {
    const size_t at = next();
    put(at, first, 4), put(at + 4, blocks, 2), put(at + 6, start >> 32, 2), put(at + 8, start, 4);
    return *this;
  }
  NodeBytes& child(uint32_t first, uint64_t block) {
    const size_t at = next();
    put(at, first, 4), put(at + 4, block, 4), put(at + 8, block >> 32, 2);
    return *this;
  }
  NodeBytes& put(size_t at, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) bytes_[at + i] = uint8_t(value >> 8 * i);
    return *this;
  }
  operator const std::vector<uint8_t>&() const { return bytes_; }

 private:
  size_t next() {
    const size_t at = 12 + 12 * bytes_[2];
    bytes_[2]++;
    return at;
  }
  std::vector<uint8_t> bytes_;
};

/// Blocks of a disk, and how many were read.
struct Disk {
  std::map<uint64_t, std::vector<uint8_t>> blocks;
  uint64_t reads = 0;
  NodeBlocks reader() {
    return [this](uint64_t block,
                  const std::function<bool(Bytes)>& is_node) -> std::optional<std::vector<uint8_t>> {
      reads++;
      const auto at = blocks.find(block);
      if (at == blocks.end() || !is_node(at->second)) return std::nullopt;
      return at->second;
    };
  }
};

std::vector<FileExtent> read(const std::vector<uint8_t>& root, Disk disk = {}, uint64_t budget = 1000) {
  return read_extents(root, disk.reader(), budget);
}

}  // namespace

TEST_CASE("the extents of a file of four or fewer stand in its inode") {
  const auto extents = read(NodeBytes(0, 60).leaf(0, 8, 0x123456789abc).leaf(8, 1, 50).leaf(20, 5, 70));
  REQUIRE(extents.size() == 3);
  CHECK(device_offset(extents, 12, 0, 4096) == 0x123456789abcull << 12);
  CHECK(device_offset(extents, 12, 7 * 4096, 4096) == (0x123456789abcull + 7) << 12);
  CHECK(device_offset(extents, 12, 8 * 4096, 4096) == 50ull << 12);
  CHECK_MESSAGE(!device_offset(extents, 12, 9 * 4096, 4096), "a hole");
  CHECK(!device_offset(extents, 12, 25 * 4096, 4096));
}

TEST_CASE("what is unwritten is not there") {
  CHECK(read(NodeBytes(0, 60).leaf(0, 32768 + 8, 100)).empty());
  CHECK_MESSAGE(read(NodeBytes(0, 60).leaf(0, 32768, 100)).size() == 1, "the longest that is written");
}

TEST_CASE("a page of blocks of 1 KiB has a place when its blocks follow each other on the device") {
  const auto extents = read(NodeBytes(0, 60).leaf(0, 2, 100).leaf(2, 2, 102).leaf(4, 2, 200).leaf(6, 2, 300));
  CHECK(device_offset(extents, 10, 0, 4096) == 100ull << 10);
  CHECK(!device_offset(extents, 10, 4096, 4096));
}

TEST_CASE("longer trees go through blocks of the disk") {
  Disk disk;
  disk.blocks[500] = NodeBytes(1, 4096).child(0, 600).child(100, 601);
  disk.blocks[600] = NodeBytes(0, 4096).leaf(0, 10, 1000);
  disk.blocks[601] = NodeBytes(0, 4096).leaf(100, 10, 2000);
  const NodeBytes root = NodeBytes(2, 60).child(0, 500);
  const auto extents = read(root, disk);
  REQUIRE(extents.size() == 2);
  CHECK(device_offset(extents, 12, 105 * 4096, 4096) == 2005ull << 12);
  SUBCASE("a block that is something else is left out, and the rest is found") {
    disk.blocks[600] = std::vector<uint8_t>(4096, 7);
    CHECK(read(root, disk).size() == 1);
  }
  SUBCASE("a node of another depth is not a child") {
    disk.blocks[600] = NodeBytes(1, 4096).child(0, 601);
    CHECK(read(root, disk).size() == 1);
  }
  SUBCASE("no more blocks are read than the budget allows") { CHECK(read(root, disk, 2).size() == 1); }
}

TEST_CASE("what is not a root has no extents") {
  CHECK(read(std::vector<uint8_t>(60)).empty());
  CHECK(read(std::vector<uint8_t>(5)).empty());
  CHECK(read(NodeBytes(0, 60).leaf(0, 8, 1).put(0, 0xf30b, 2)).empty());
  CHECK_MESSAGE(read(NodeBytes(0, 60).leaf(0, 8, 1).put(2, 5, 2)).empty(), "more entries than fit");
  CHECK_MESSAGE(read(NodeBytes(0, 60).leaf(0, 8, 1).put(4, 5, 2)).empty(), "room for more than there is");
  CHECK(read(NodeBytes(6, 60).child(0, 500)).empty());
}

TEST_CASE("a block that leads to itself ends") {
  Disk disk;
  disk.blocks[500] = NodeBytes(1, 4096).child(0, 500);
  CHECK(read(NodeBytes(2, 60).child(0, 500), disk).empty());
}

TEST_CASE("places past all numbers are none") {
  const auto extents = read(NodeBytes(0, 60).leaf(0xfffffff0, 8, 1));
  CHECK(device_offset(extents, 12, 0xfffffff0ull << 12, 4096) == 1ull << 12);
  CHECK(!device_offset(extents, 12, 1ull << 60, 4096));
  CHECK(!device_offset(extents, 40, 0, 4096));
}
