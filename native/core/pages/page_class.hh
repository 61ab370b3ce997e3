// SPDX-License-Identifier: Apache-2.0
// The classes of guest pages, in the order and with the numbers that snapshots store (docs/format.md).
#pragma once
#include <array>
#include <cstdint>

namespace pars {

enum class PageClass : uint8_t {
  kernel = 0,        // everything not named below; when in doubt, this
  free_page = 1,     // in a buddy block
  clean_cache = 2,   // file cache proven safe to lose
  mapped_cache = 3,  // clean file cache in somebody's page tables
  dirty_cache = 4,   // newer than the disk, or being written
  other_cache = 5,   // clean, but not proven safe
  anon = 6,
  shmem = 7,
  slab = 8,
  page_table = 9,
  offline = 10,
  device = 11,  // RAM blocks that are not guest RAM
};
inline constexpr size_t kPageClasses = 12;

inline constexpr std::array<const char*, kPageClasses> kPageClassNames = {
    "kernel", "free",  "clean-cache", "mapped-cache", "dirty-cache", "other-cache",
    "anon",   "shmem", "slab",        "page-table",   "offline",     "device"};

inline constexpr bool expendable(PageClass c) {
  return c == PageClass::free_page || c == PageClass::clean_cache;
}

}  // namespace pars
