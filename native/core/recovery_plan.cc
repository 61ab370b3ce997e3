#include "core/recovery_plan.hh"

#include <bit>

namespace pars {

bool RecoveryPlanner::plan(uint64_t pfn, std::vector<RecoveryWrite>& writes) const {
  const StructPage head = *array_.at(pfn);
  const PageLayout& layout = array_.layout();
  if (head.has(layout.flag.private_data)) return false;
  const int bit = std::countr_zero(layout.flag.uptodate);
  return clear_bits(head.bytes() + layout.flags + bit / 8, 1 << bit % 8, writes);
}

/// `target` points into the mapped image. Pages that are zero or one repeated word have no payload of their own to change.
bool RecoveryPlanner::clear_bits(const uint8_t* target, uint8_t mask, std::vector<RecoveryWrite>& writes) const {
  const Bytes image = memory_.ram().image();
  if (target < image.data() || target >= image.data() + image.size()) return false;
  const uint64_t offset = target - image.data();
  if (offset < head_end_) return false;
  writes.push_back({offset, mask, 0});
  return true;
}

}  // namespace pars
