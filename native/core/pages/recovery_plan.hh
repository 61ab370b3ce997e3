// SPDX-License-Identifier: Apache-2.0
// The recovery of one clean-cache folio: which bits of kernel memory must be cleared if its contents are
// lost, so that the guest reads it again from its disk.
#pragma once
#include <vector>

#include "core/pages/private_state.hh"
#include "core/pages/recovery.hh"

namespace pars {

class RecoveryPlanner {
 public:
  /// `head_end`: the image's head is never changed, so nothing may be written below it.
  RecoveryPlanner(const KernelMemory& memory, const PageArray& array, const PrivateLayout& layout,
                  uint64_t head_end)
      : memory_(memory), array_(array), private_(memory, layout, array), head_end_(head_end) {}

  /// Appends the writes for a folio of `file` and says by which recipe; any other reason is why its loss
  /// could not be undone, and what was appended is to be dropped. `classifications` are those of all pages,
  /// by frame.
  Reason plan(uint64_t pfn, uint32_t order, const CachedFile& file,
              const std::vector<Classification>& classifications, std::vector<RecoveryWrite>& writes);

 private:
  bool clear_bits(uint64_t gpa, uint8_t mask, const std::vector<Classification>& classifications,
                  std::vector<RecoveryWrite>& writes);
  bool holds_payload(PageLocation page);

  const KernelMemory& memory_;
  const PageArray& array_;
  PrivateState private_;
  uint64_t head_end_;
  std::vector<StateBits> bits_;       ///< of the folio in hand
  PageLocation checked_ = kZeroPage;  ///< the page last asked about, for writes come in runs,
  bool checked_holds_ = false;        ///< and the answer
};

}  // namespace pars
