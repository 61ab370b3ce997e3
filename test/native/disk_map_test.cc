// SPDX-License-Identifier: Apache-2.0
#include "core/frames/disk_map.hh"

#include <doctest/doctest.h>

#include <vector>

using namespace pars;

namespace {

constexpr uint64_t kMost = ~uint64_t{0};

std::vector<uint8_t> table_of(const std::vector<std::array<uint64_t, 4>>& pieces) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(pieces.data());
  return {bytes, bytes + pieces.size() * DiskMap::kEntryBytes};
}

}  // namespace

TEST_CASE("a disk without a map is its only file") {
  const auto piece = DiskMap().at(4096, 100);
  REQUIRE(piece);
  CHECK(piece->offset == 4096);
  CHECK(piece->bytes == 100);
  CHECK(piece->file == 0);
  CHECK_FALSE(DiskMap().at(0, 0));
}

TEST_CASE("a place of a mapped disk lies in one piece, or nowhere") {
  const auto table = table_of({{4096, 8192, 65536, 1}, {12288, 4096, 0, 0}, {40960, 4096, 8192, 2}});
  const DiskMap map{Bytes(table)};
  CHECK_FALSE(map.at(0, kMost));
  CHECK_FALSE(map.at(4095, kMost));
  const auto first = map.at(8192, kMost);
  REQUIRE(first);
  CHECK(first->offset == 69632);
  CHECK(first->bytes == 4096);
  CHECK(first->file == 1);
  CHECK(map.at(12288, 512)->bytes == 512);
  CHECK_FALSE(map.at(16384, 1));
  CHECK(map.at(45055, kMost)->bytes == 1);
  CHECK_FALSE(map.at(45056, 1));
  CHECK_FALSE(map.at(kMost, kMost));
}

TEST_CASE("a table that is empty, short or in disorder leads nowhere") {
  CHECK_FALSE(DiskMap(Bytes()).at(0, 1));
  auto table = table_of({{8192, kMost, kMost, kMost}, {0, 4096, 0, 0}, {4096, 0, 0, 0}});
  for (uint64_t at : {uint64_t{0}, uint64_t{4096}, uint64_t{8192}, kMost})
    (void)DiskMap(Bytes(table)).at(at, kMost);
  table.resize(DiskMap::kEntryBytes - 1);
  CHECK_FALSE(DiskMap(Bytes(table)).at(0, 1));
}
