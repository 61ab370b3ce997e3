// SPDX-License-Identifier: Apache-2.0
#include "core/pages/segment_proofs.hh"

#include <algorithm>

namespace pars {

namespace {

constexpr uint64_t kAbovePciHole = 4ull << 30;

/// Whole sections that hold what is in `segments`, joined where they touch.
std::vector<Stretch> sections_of(const std::vector<Segment>& segments, uint64_t section_bytes,
                                 bool plugged_too) {
  std::vector<Stretch> out;
  for (const Segment& s : segments) {
    if (s.plugged && !plugged_too) continue;
    const uint64_t begin = s.gpa / section_bytes * section_bytes;
    const uint64_t end = (s.gpa + s.bytes + section_bytes - 1) / section_bytes * section_bytes;
    if (!out.empty() && begin <= out.back().end) out.back().end = std::max(out.back().end, end);
    else out.push_back({begin, end});
  }
  return out;
}

/// Each of `inner` lies within one of `outer`.
bool within(const std::vector<Stretch>& inner, const std::vector<Stretch>& outer) {
  const auto is_inside = [&](const Stretch& a) {
    return std::any_of(outer.begin(), outer.end(),
                       [&](const Stretch& b) { return b.begin <= a.begin && a.end <= b.end; });
  };
  return std::all_of(inner.begin(), inner.end(), is_inside);
}

/// The kernel has sections for the whole of the machine's RAM, and for nothing else but what may be plugged
/// in: it agrees with the layout on where the PCI hole begins and ends.
bool bears_out(const GuestRam& ram, const PresentSections& present) {
  if (!present.known || present.section_bytes == 0) return false;
  const auto machine = sections_of(ram.segments(), present.section_bytes, false),
             all = sections_of(ram.segments(), present.section_bytes, true);
  return within(machine, present.stretches) && within(present.stretches, all);
}

}  // namespace

void SegmentProofs::add(uint64_t gpa) {
  const Segment* segment = ram_.segment(gpa);
  if (!segment) return;
  std::vector<uint64_t>& pages = pages_[segment - ram_.segments().data()];
  const uint64_t page = gpa / kPageSize;
  if (pages.size() < kProofs && std::find(pages.begin(), pages.end(), page) == pages.end())
    pages.push_back(page);
}

/// QEMU backs the memory below and above the PCI hole by one block, the lower part from its first byte on and
/// the upper where that ends (hw/i386/pc.c, pc_memory_init). So a structure in either part is where it is
/// only if the hole begins where the layout says, and with it the other part. That the kernel's own sections
/// end there, too, is a second piece of evidence, which no table of machine types can forge.
std::vector<bool> proven_segments(const GuestRam& ram, const SegmentProofs& proofs,
                                  const PresentSections& present) {
  const std::vector<Segment>& segments = ram.segments();
  std::vector<bool> proven(segments.size());
  for (size_t i = 0; i < segments.size(); i++) proven[i] = proofs.enough(i);
  for (size_t upper = 0; upper < segments.size(); upper++) {
    if (segments[upper].gpa != kAbovePciHole) continue;
    for (size_t lower = 0; lower < segments.size(); lower++) {
      if (lower == upper || segments[lower].block != segments[upper].block || proven[lower] == proven[upper])
        continue;
      if (bears_out(ram, present)) proven[lower] = proven[upper] = true;
    }
  }
  return proven;
}

}  // namespace pars
