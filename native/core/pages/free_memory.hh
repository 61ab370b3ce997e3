// SPDX-License-Identifier: Apache-2.0
// The buddy allocator's free blocks, believed only when they add up (R4): heads in the page array, the zones'
// counters and the zones' lists must tell the same story.
#pragma once
#include <string>
#include <vector>

#include "core/kernel/page_array.hh"

namespace pars {

struct FreeBlock {
  uint64_t pfn = 0;
  uint32_t order = 0;
};

struct FreeMemory {
  std::vector<FreeBlock> blocks;  ///< ascending, not overlapping, every one on its zone's list
  uint64_t pages = 0;
};

/// `slack`: blocks that counters and lists may be apart by, one a vCPU, for a save in mid-operation.
Believed<FreeMemory> read_free_memory(const KernelMemory& memory, const Vmcoreinfo& info,
                                      const KernelLayout& layout, const PageArray& array, uint64_t slack);

}  // namespace pars
