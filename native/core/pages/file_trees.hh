// SPDX-License-Identifier: Apache-2.0
// The page cache as the kernel's own trees hold it (R5).
#pragma once
#include <cstdint>
#include <vector>

#include "core/kernel/kernel_layout.hh"
#include "core/kernel/kernel_memory.hh"
#include "core/kernel/page_array.hh"
#include "core/pages/segment_proofs.hh"

namespace pars {

class FileTrees {
 public:
  FileTrees(const KernelMemory& memory, const CacheLayout& layout, const PageArray& array,
            SegmentProofs& proofs);

  /// Walks the tree of the file behind an address_space, and notes the pages that name it, too.
  void walk(uint64_t mapping);
  /// A tree that was walked holds this head's struct page at its index.
  bool hold(uint64_t pfn) const { return held_[pfn]; }

 private:
  void walk_node(uint64_t mapping, uint64_t node, uint64_t base, int shift_limit);
  bool take_entry(uint64_t mapping, uint64_t entry, uint64_t index);

  const KernelMemory& memory_;
  const CacheLayout& layout_;
  const PageArray& array_;
  SegmentProofs& proofs_;
  std::vector<bool> held_;
  uint64_t nodes_left_;
};

}  // namespace pars
