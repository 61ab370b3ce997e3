// SPDX-License-Identifier: Apache-2.0
// A guest made by hand with words of its kernel's memory changed: struct pages, trees, inodes, zones, page
// tables, VMCOREINFO, BTF. What is still called expendable must look expendable to a second, plainer reading
// of its struct page.
#include <cstdlib>

#include "guest/modules.hh"

using namespace pars;
using namespace pars::test;

namespace {

/// Its btrfs is a module: the way to the module's types is part of what changes.
Guest& guest() {
  static ModuleGuest g(linux_6_12());
  static const PrivateFolio folio = g.add_marked(g.file, 64, 0);
  return g;
}

/// Regions whose words may change: frames, and how many.
constexpr std::pair<uint64_t, uint64_t> kRegions[] = {
    {frame::kStructPages, 64}, {frame::kStructPages + 12, 8},
    {frame::kHeap, 24},        {frame::kTables, 16},
    {frame::kSwapper, 1},      {frame::kNote, 1},
    {frame::kImage + 1, 3},    {frame::kData, 1}};

/// Free: no reference. Clean cache: a head with the flags of an idle page and its pages' references; tails
/// have none.
bool may_be_lost(Guest& g, const Seen& seen, uint64_t pfn) {
  const uint64_t flags = g.get_page(pfn, "flags"), references = g.get_page(pfn, "_refcount");
  if (seen.at(pfn) == PageClass::free_page) return references == 0;
  if (references == 0) return g.get_page(pfn, "compound_head") & 1;
  const auto has = [&](const char* name) { return (flags & g.types.bit("pageflags", name)) != 0; };
  for (const char* bad : {"PG_dirty", "PG_writeback", "PG_locked", "PG_swapbacked", "PG_unevictable",
                          "PG_hwpoison", "PG_reserved"})
    if (has(bad)) return false;
  return has("PG_lru") && has("PG_uptodate") && (g.get_page(pfn, "mapping") & 3) == 0 &&
         g.get_page(pfn, "_mapcount") == 0xffffffff;
}

void check(Guest& g) {
  const Seen seen = g.look();
  if (!seen.introspected) {
    if (seen.expendable_pages() != 0 || seen.reason.empty()) std::abort();
    return;
  }
  for (uint64_t pfn = 0; pfn < 4096; pfn++)
    if (expendable(seen.at(pfn)) && !may_be_lost(g, seen, pfn)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Guest& g = guest();
  std::vector<std::pair<uint64_t, uint64_t>> before;
  Cursor input({data, size});
  bool readable = true;  // the second reading stands on the struct pages' own place, types and tables
  while (input.remaining() >= 12 && before.size() < 64) {
    const size_t region = input.u8() % std::size(kRegions);
    const auto [first, count] = kRegions[region];
    const uint64_t at = (first + input.u8() % count) * kPage + input.be16() % 512 * 8;
    before.push_back({at, g.memory.get(at, 8)});
    g.memory.put(at, input.le64(), 8);
    readable = readable && region < 3;
  }
  if (readable) check(g);
  else (void)g.look();
  for (auto change = before.rbegin(); change != before.rend(); ++change)
    g.memory.put(change->first, change->second, 8);
  return 0;
}
