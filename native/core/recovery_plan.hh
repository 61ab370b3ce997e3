// The recovery of one clean-cache folio: which bits of kernel memory must be cleared if its contents are lost, so that the guest
// reads it again from its disk. One recipe for each kind of private state; a recipe not proven on a running guest does not exist.
#pragma once
#include <optional>
#include <vector>

#include "core/kernel_layout.hh"
#include "core/kernel_memory.hh"
#include "core/page_array.hh"
#include "core/recovery.hh"

namespace pars {

class RecoveryPlanner {
 public:
  /// `head_end`: the image's head is never changed, so nothing may be written below it.
  RecoveryPlanner(const KernelMemory& memory, const PageArray& array, uint64_t head_end)
      : memory_(memory), array_(array), head_end_(head_end) {}

  /// Appends the writes for the folio at `pfn`; false when it has private state without a recipe, or when a write would not land in stored payload.
  bool plan(uint64_t pfn, std::vector<RecoveryWrite>& writes) const;

 private:
  bool clear_bits(const uint8_t* target, uint8_t mask, std::vector<RecoveryWrite>& writes) const;

  const KernelMemory& memory_;
  const PageArray& array_;
  uint64_t head_end_;
};

}  // namespace pars
