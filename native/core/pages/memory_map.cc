// SPDX-License-Identifier: Apache-2.0
#include "core/pages/memory_map.hh"

#include <algorithm>
#include <array>

#include "core/kernel/guest_ram.hh"

namespace pars {

namespace {

/// Of two classes with as many pages the one that comes first.
PageClass commonest(const PageClass* pages, uint64_t count) {
  std::array<uint32_t, kPageClasses> seen{};
  for (uint64_t i = 0; i < count; i++) seen[static_cast<size_t>(pages[i])]++;
  return static_cast<PageClass>(std::max_element(seen.begin(), seen.end()) - seen.begin());
}

uint64_t cells_of(const std::vector<Segment>& segments, uint64_t cell_pages) {
  uint64_t cells = 0;
  for (const Segment& s : segments) cells += (s.bytes / kPageSize + cell_pages - 1) / cell_pages;
  return cells;
}

MapSegment draw(const Segment& s, const std::vector<PageClass>& classes, uint64_t cell_pages) {
  MapSegment out{s.gpa, s.bytes, {}};
  const uint64_t pages = s.bytes / kPageSize;
  for (uint64_t p = 0; p < pages; p += cell_pages) {
    const PageClass c = commonest(classes.data() + s.block_page + p, std::min(cell_pages, pages - p));
    if (!out.runs.empty() && out.runs.back().page_class == c) out.runs.back().cells++;
    else out.runs.push_back({c, 1});
  }
  return out;
}

}  // namespace

MemoryMap draw_memory_map(const DomainXml& domain, const MigrationStream& stream,
                          const Inspection& inspection) {
  MemoryMap map;
  const auto layout = lay_out_ram(domain, stream);
  const std::vector<Segment> segments = layout ? *layout : std::vector<Segment>();
  // Ends: there are a few segments, each with one short cell at the most, and a cell can hold all of memory.
  while (cells_of(segments, map.cell_pages) > kMaxMapCells && map.cell_pages < kMaxRamBytes / kPageSize)
    map.cell_pages *= 2;
  for (const Segment& s : segments)
    map.segments.push_back(draw(s, inspection.classes[s.block], map.cell_pages));
  return map;
}

}  // namespace pars
