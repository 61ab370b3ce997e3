// SPDX-License-Identifier: Apache-2.0
#include "core/pages/recovery_plan.hh"

#include <bit>

namespace pars {

Reason RecoveryPlanner::plan(uint64_t pfn, uint32_t order, const CachedFile& file,
                             const std::vector<Classification>& classifications,
                             std::vector<RecoveryWrite>& writes) {
  const StructPage head = *array_.at(pfn);
  const PageLayout& layout = array_.layout();
  bits_.clear();
  const Reason recipe = head.has(layout.flag.private_data) ? private_.judge(pfn, order, file, bits_)
                        : head.private_data() == 0         ? Reason::plain
                                                           : Reason::private_unknown;
  if (!is_recipe(recipe)) return recipe;
  const int bit = std::countr_zero(layout.flag.uptodate);
  const uint64_t flags = array_.home(pfn) + pfn * kStructPageBytes % kPageSize + layout.flags;
  if (!clear_bits(flags + bit / 8, 1 << bit % 8, classifications, writes)) return Reason::recovery_target;
  for (const StateBits& b : bits_) {
    const auto gpa = memory_.translate(b.va);
    if (!gpa || !clear_bits(*gpa, b.mask, classifications, writes)) return Reason::recovery_target;
  }
  return recipe;
}

/// The bits are set now, in a page that will come back as it is: critical, where the layout says (R6), with
/// payload of its own in the image, beyond its head.
bool RecoveryPlanner::clear_bits(uint64_t gpa, uint8_t mask,
                                 const std::vector<Classification>& classifications,
                                 std::vector<RecoveryWrite>& writes) {
  const uint64_t pfn = gpa / kPageSize;
  if (pfn >= classifications.size() || expendable(classifications[pfn].page_class) ||
      classifications[pfn].reason == Reason::segment_unproven)
    return false;
  const PageLocation page = memory_.ram().location(pfn * kPageSize);
  if (!holds_payload(page)) return false;
  const uint64_t offset = page + gpa % kPageSize;
  if ((memory_.ram().image()[offset] & mask) != mask) return false;
  writes.push_back({offset, mask, 0});
  return true;
}

/// Pages that are zero or one repeated word are stored as that word: there is no byte of theirs to change.
bool RecoveryPlanner::holds_payload(PageLocation page) {
  if (page == kZeroPage || page < head_end_) return false;
  if (page != checked_) checked_ = page, checked_holds_ = !is_fill(memory_.ram().image().data() + page);
  return checked_holds_;
}

}  // namespace pars
