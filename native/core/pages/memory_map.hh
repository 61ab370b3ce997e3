// SPDX-License-Identifier: Apache-2.0
// A map of guest-physical memory: cells of some pages each, every one of the class that most of its pages
// have.
#pragma once
#include <vector>

#include "core/image/domain_xml.hh"
#include "core/pages/inspection.hh"

namespace pars {

inline constexpr uint64_t kMaxMapCells = 64 << 10;

struct MapRun {
  PageClass page_class;
  uint64_t cells;
};

struct MapSegment {
  uint64_t gpa = 0, bytes = 0;
  std::vector<MapRun> runs;
};

struct MemoryMap {
  uint64_t cell_pages = 1;           ///< a power of two; the last cell of a segment may be short
  std::vector<MapSegment> segments;  ///< ascending; empty when the layout is not known
};

MemoryMap draw_memory_map(const DomainXml& domain, const MigrationStream& stream,
                          const Inspection& inspection);

}  // namespace pars
