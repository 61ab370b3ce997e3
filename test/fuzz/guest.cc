// SPDX-License-Identifier: Apache-2.0
// A guest made by hand with words of its kernel's memory changed: struct pages, trees, inodes, zones, page
// tables, VMCOREINFO, BTF. Words become any number, or pointers into the same memory or what stands elsewhere
// in it, which makes lists and trees go in circles and on and on; and notes are planted that differ from the
// kernel's own in a line. What is still called expendable must look expendable to a second, plainer reading
// of its struct page.
#include <cstdlib>
#include <cstring>

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

/// What one step of the input does; in the bits above the region's.
enum Step : uint8_t { kNumber, kPointer, kCopy, kPlant };
constexpr uint64_t kNotes = 64;

uint64_t first_note() {
  static const uint64_t first = guest().take(kNotes);
  return first;
}

/// The kernel's own note with one line of it another number, or gone.
void plant(Guest& g, uint64_t number, uint64_t choice) {
  Kernel::Note note = g.note;
  auto& line = note[choice % note.size()];
  const uint64_t value = choice >> 8;
  if (value == 0) note.erase(note.begin() + static_cast<ptrdiff_t>(choice % note.size()));
  else
    line.second = line.first.starts_with("SYMBOL") ? Kernel::hex(~0ull << 47 | value) : std::to_string(value);
  g.write_note(first_note() + number, note);
}

/// A place in one of the regions.
uint64_t place(uint8_t region, uint8_t page, uint16_t word) {
  const auto [first, count] = kRegions[region % std::size(kRegions)];
  return (first + page % count) * kPage + word % 512 * 8;
}

uint64_t value_of(Guest& g, Step step, uint64_t choice) {
  if (step == kNumber) return choice;
  const uint64_t at = place(uint8_t(choice), uint8_t(choice >> 8), uint16_t(choice >> 16));
  return step == kCopy ? g.memory.get(at, 8) : kDirectMap + at + (choice >> 32 & 7);
}

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
  uint64_t notes = 0;
  while (input.remaining() >= 12 && before.size() < 64) {
    const uint8_t head = input.u8(), page = input.u8();
    const auto step = static_cast<Step>(head / std::size(kRegions) % 4);
    const uint64_t at = place(head, page, input.be16()), choice = input.le64();
    if (step == kPlant) {
      if (notes < kNotes) plant(g, notes++, choice);
      continue;
    }
    before.push_back({at, g.memory.get(at, 8)});
    g.memory.put(at, value_of(g, step, choice), 8);
    readable = readable && head % std::size(kRegions) < 3;
  }
  if (readable) check(g);
  else (void)g.look();
  for (auto change = before.rbegin(); change != before.rend(); ++change)
    g.memory.put(change->first, change->second, 8);
  for (uint64_t i = 0; i < notes; i++) std::memset(g.memory.page(first_note() + i), 0, kPage);
  return 0;
}
