// SPDX-License-Identifier: Apache-2.0
#include "core/pages/file_trees.hh"

namespace pars {

namespace {

// xarray entries (Linux include/linux/xarray.h): low bits 10 are internal (small ones siblings, others
// nodes), bit 0 values.
constexpr uint64_t kInternal = 2, kEntryBits = 3, kLastSmallInternal = 4096;

/// No tree of a guest can have more nodes than fit into its memory.
constexpr uint64_t kNodesPerPage = 8;

}  // namespace

FileTrees::FileTrees(const KernelMemory& memory, const CacheLayout& layout, const PageArray& array,
                     SegmentProofs& proofs)
    : memory_(memory),
      layout_(layout),
      array_(array),
      proofs_(proofs),
      held_(array.end(), false),
      nodes_left_(array.end() * kNodesPerPage) {}

void FileTrees::walk(uint64_t mapping) {
  auto head = memory_.u64(mapping + layout_.mapping_pages);
  if (!head) return;
  if ((*head & kEntryBits) == kInternal && *head > kLastSmallInternal)
    walk_node(mapping, *head - kInternal, 0, 64);
  else take_entry(mapping, *head, 0);
}

/// Depth is bounded: a child's shift is smaller than its parent's. Work is bounded by nodes_left_.
void FileTrees::walk_node(uint64_t mapping, uint64_t node, uint64_t base, int shift_limit) {
  auto shift = memory_.u8(node + layout_.node_shift);
  if (!shift || *shift >= shift_limit || nodes_left_ == 0) return;
  nodes_left_--;
  bool proven = false;
  for (uint64_t i = 0; i < layout_.node_fanout; i++) {
    const uint64_t entry = memory_.u64(node + layout_.node_slots + 8 * i).value_or(0);
    if (entry == 0) continue;
    const uint64_t index = base + (i << *shift);
    if ((entry & kEntryBits) == kInternal) {
      if (entry > kLastSmallInternal && *shift > 0) walk_node(mapping, entry - kInternal, index, *shift);
    } else {
      proven = take_entry(mapping, entry, index) || proven;
    }
  }
  const auto gpa = proven ? memory_.translate(node) : std::nullopt;
  if (gpa) proofs_.add(*gpa);
}

bool FileTrees::take_entry(uint64_t mapping, uint64_t entry, uint64_t index) {
  if (entry & kEntryBits) return false;
  auto pfn = array_.frame(entry);
  if (!pfn) return false;
  const StructPage page = *array_.at(*pfn);
  if (page.mapping() != mapping || page.index() != index) return false;
  held_[*pfn] = true;
  proofs_.add(array_.home(*pfn));
  return true;
}

}  // namespace pars
