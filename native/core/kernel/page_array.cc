// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/page_array.hh"

#include <algorithm>
#include <bit>

namespace pars {

namespace {

// section_mem_map keeps flags in its low bits: 4 on Linux 5.10, up to 6 later (SECTION_MAP_LAST_BIT). The
// array's base is page-aligned in every kernel, so all twelve low bits can be dropped.
constexpr uint64_t kSectionFlags = 0xfff;
constexpr uint64_t kSectionPresent = 1, kSectionHasMap = 2;
constexpr int64_t kMinSectionBits = 24;  // x86-64 has 27

constexpr uint64_t kMaxRoots = 1ull << 18;  // 5-level kernels have 2^17
constexpr size_t kMaxStretches = 1 << 12;
// Of those a guest begins with: the lowest memory of a PC is RAM, so that its first section has struct pages.
constexpr uint64_t kMaxLeadingSections = 1 << 10;

struct SectionTable {
  uint64_t root;
  uint64_t per_root;
  uint64_t roots;
  uint32_t section_bytes, map_at;
  uint64_t pages;  ///< of a section
};

/// section_mem_map of one section; 0 when it is not there.
uint64_t section_map(const KernelMemory& memory, const SectionTable& t, uint64_t section) {
  if (section / t.per_root >= t.roots) return 0;
  const uint64_t row = memory.u64(t.root + 8 * (section / t.per_root)).value_or(0);
  if (row == 0) return 0;
  const uint64_t map = memory.u64(row + section % t.per_root * t.section_bytes + t.map_at).value_or(0);
  return (map & kSectionPresent) && (map & kSectionHasMap) ? map & ~kSectionFlags : 0;
}

Believed<SectionTable> section_table(const Vmcoreinfo& info, const KernelLayout& layout) {
  const auto fail = [](const char* why) { return Disbelief{why}; };
  auto root = info.symbol("mem_section");
  auto bits = info.number("SECTION_SIZE_BITS");
  auto roots = info.length("mem_section");
  if (!root || !bits || !roots) return fail("VMCOREINFO names no mem_section");
  if (layout.page.bytes != kStructPageBytes) return fail("struct page is not 64 bytes");
  const uint32_t section_bytes = layout.section.section_bytes;
  if (*bits < kMinSectionBits || *bits > 40 || section_bytes == 0 || section_bytes > kPageSize)
    return fail("the section size makes no sense");
  return SectionTable{*root,         kPageSize / section_bytes,      *roots,
                      section_bytes, layout.section.section_mem_map, 1ull << (*bits - 12)};
}

}  // namespace

namespace {

/// Joins a section that follows the last one to it; false when there are too many apart.
bool add_section(uint64_t section, PresentSections& out) {
  const uint64_t begin = section * out.section_bytes;
  if (out.stretches.empty() || out.stretches.back().end != begin) out.stretches.push_back({begin, begin});
  out.stretches.back().end = begin + out.section_bytes;
  return out.stretches.size() <= kMaxStretches;
}

}  // namespace

PresentSections present_sections(const KernelMemory& memory, const Vmcoreinfo& info,
                                 const KernelLayout& layout) {
  const auto table = section_table(info, layout);
  if (!table || table->roots > kMaxRoots) return {};
  PresentSections out{true, table->pages * kPageSize, {}};
  for (uint64_t r = 0; r < table->roots; r++) {
    const uint64_t row = memory.u64(table->root + 8 * r).value_or(0);
    for (uint64_t i = 0; row != 0 && i < table->per_root; i++) {
      const auto map = memory.u64(row + i * table->section_bytes + table->map_at);
      if (!map) return {};
      if ((*map & kSectionPresent) && !add_section(r * table->per_root + i, out)) return {};
    }
  }
  return out;
}

Believed<uint64_t> PageArray::base(const KernelMemory& memory, const Vmcoreinfo& info,
                                   const KernelLayout& layout) {
  const auto table = section_table(info, layout);
  if (!table) return Disbelief{table.why()};
  for (uint64_t section = 0; section < kMaxLeadingSections && section * table->pages < memory.ram().end_pfn();
       section++)
    if (const uint64_t base = section_map(memory, *table, section)) return base;
  return Disbelief{"mem_section leads to no struct page"};
}

Believed<PageArray> PageArray::find(const KernelMemory& memory, const Vmcoreinfo& info,
                                    const KernelLayout& layout) {
  const auto base = PageArray::base(memory, info, layout);
  if (!base) return Disbelief{base.why()};
  const SectionTable table = *section_table(info, layout);
  PageArray array;
  array.layout_ = &layout.page;
  array.base_ = *base;
  const uint64_t end_pfn = memory.ram().end_pfn();
  array.chunks_.assign((end_pfn + kPerChunk - 1) / kPerChunk, nullptr);
  array.homes_.assign(array.chunks_.size(), 0);
  for (uint64_t first = 0; first < end_pfn; first += table.pages) {
    const uint64_t map = section_map(memory, table, first / table.pages);
    if (map == 0) continue;
    if (map != *base) return Disbelief{"the struct page array is not linear"};
    for (uint64_t pfn = first; pfn < std::min(first + table.pages, end_pfn); pfn += kPerChunk) {
      const TableEntry entry = memory.walk(*base + pfn * kStructPageBytes);
      if (!entry.present) continue;
      array.chunks_[pfn / kPerChunk] = memory.ram().page(entry.gpa);
      array.homes_[pfn / kPerChunk] = entry.gpa & ~(kPageSize - 1);
    }
  }
  return array;
}

std::optional<uint64_t> PageArray::head_of(uint64_t tail_pfn, uint64_t compound) const {
  if (!(compound & 1)) return std::nullopt;
  const uint64_t span = -(compound & ~1ull);  // of a mask: bytes of the folio's struct pages
  const bool mask = std::has_single_bit(span) && span <= 1ull << 34;
  return frame(mask ? address(tail_pfn) & compound & ~1ull : compound & ~1ull);
}

}  // namespace pars
