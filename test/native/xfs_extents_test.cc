// SPDX-License-Identifier: Apache-2.0
#include "core/pages/xfs_extents.hh"

#include <doctest/doctest.h>

using namespace pars;

namespace {

constexpr XfsBlocks kBlocks{30000, 15};

/// As xfs_iext_set lays an extent out.
std::optional<FileExtent> extent(uint64_t first, uint64_t start, uint64_t length, bool unwritten = false) {
  const uint64_t low = first | start << 54;
  const uint64_t high = length | (start & ~1023ull) << 12 | (unwritten ? 1ull << 21 : 0);
  return xfs_extent(low, high, kBlocks);
}

}  // namespace

TEST_CASE("an extent of XFS lies in its allocation group") {
  const auto found = extent(7, (3ull << 15) + 1234, 99);
  REQUIRE(found);
  CHECK(found->first == 7);
  CHECK(found->blocks == 99);
  CHECK(found->start == 3 * 30000 + 1234);
}

TEST_CASE("what is no stretch of written blocks is no extent") {
  CHECK(!extent(0, 100, 8, true));
  CHECK(!extent(0, 100, 0));
  CHECK(!extent(0, 30000, 8));            // past its group
  CHECK(!extent(0, 0x1ffffffffffff, 8));  // delayed
  CHECK(!extent(1ull << 33, 100, 8));
}
