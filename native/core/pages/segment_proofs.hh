// SPDX-License-Identifier: Apache-2.0
// Which segments of guest RAM lie where the layout says (R6): those through which enough of the kernel's
// structures were read, and the other part of a block of which one part is proven so, when the kernel says
// itself where the hole between them is.
#pragma once
#include <vector>

#include "core/kernel/guest_ram.hh"
#include "core/kernel/page_array.hh"

namespace pars {

/// Pages of each segment that were seen to hold a structure of the kernel's. One page proves itself once,
/// whatever it holds.
class SegmentProofs {
 public:
  explicit SegmentProofs(const GuestRam& ram) : ram_(ram), pages_(ram.segments().size()) {}

  /// A structure that agrees with others was read at this guest-physical address.
  void add(uint64_t gpa);
  bool enough(size_t segment) const { return pages_[segment].size() >= kProofs; }

 private:
  static constexpr size_t kProofs = 16;
  const GuestRam& ram_;
  std::vector<std::vector<uint64_t>> pages_;  // of a segment: as many distinct ones as it takes
};

/// By segment of guest RAM: whether it is proven. `present`: the stretches of memory that the kernel has
/// sections for, ascending.
std::vector<bool> proven_segments(const GuestRam& ram, const SegmentProofs& proofs,
                                  const PresentSections& present);

}  // namespace pars
