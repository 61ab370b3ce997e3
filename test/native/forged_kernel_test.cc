// SPDX-License-Identifier: Apache-2.0
// R2: a kernel that somebody in the guest forged is not believed, whatever it is made of.
#include <doctest/doctest.h>

#include "guest/checks.hh"

using namespace pars;
using namespace pars::test;

TEST_CASE("R2: a forged VMCOREINFO with a page array of its own changes nothing") {
  // All of it in memory a process can have: a note before the real one, a section table, and an array that
  // calls all memory free.
  Guest g;
  const Seen truth = g.look();
  const uint64_t fake_pages = g.take(64), fake_sections = g.take(), fake_root = g.take(), fake_note = 10;
  for (uint64_t i = 0; i < 4096; i++) {
    const uint64_t at = fake_pages * kPage + 64 * i;
    g.memory.put(at + 48, i % 1024 == 0 && i >= 1024 ? 0xf0000000 : 0xffffffff, 4);
    g.memory.put(at + 52, i < 1024 ? 1 : 0, 4);
    g.memory.put(at + 40, i % 1024 == 0 ? 10 : 0, 8);
  }
  g.memory.put(fake_sections * kPage, (kDirectMap + fake_pages * kPage) | 0xf, 8);
  g.memory.put(fake_root * kPage, kDirectMap + fake_sections * kPage, 8);
  Kernel::Note forged = g.note;
  for (auto& [key, value] : forged)
    if (key == "SYMBOL(mem_section)") value = Kernel::hex(kDirectMap + fake_root * kPage);
  g.write_note(fake_note, forged);
  const Seen seen = g.look();
  REQUIRE(seen.reason == "");
  CHECK(seen.expendable_pages() == truth.expendable_pages());
  for (uint64_t pfn = 0; pfn < 4096; pfn++)
    if (expendable(seen.at(pfn))) CHECK(expendable(truth.at(pfn)));
  SUBCASE("and alone it is refused") {
    g.memory.fill(frame::kNote);
    check_refused(g, "not where the kernel keeps it");
  }
}

namespace {

/// All that a kernel would tell of its pages, in memory of a process: sections, a page array, a node and its
/// zone. It calls pages in use free, and agrees with itself in everything.
class Forgery {
 public:
  /// `place`: where the kernel's tables have the process's pages, if not in the map of all memory.
  explicit Forgery(Guest& guest, uint64_t place = 0)
      : g(guest), first(g.take(128)), at(place ? place : kDirectMap + first * kPage) {
    for (uint64_t i = 0; place && i < 128; i++)
      g.tables.map(place + i * kPage, (first + i) * kPage, kWritable);
    victims = g.take(32);
    for (uint64_t pfn = 0; pfn < 4096; pfn++)
      put("page", 64 * pfn, "_mapcount", 0xffffffff), put("page", 64 * pfn, "_refcount", 1);
    memory(kRow * kPage, at | 0xf), memory(kRoot * kPage, at + kRow * kPage);
    add_zone();
    for (uint64_t pfn = victims; pfn < victims + 32; pfn++) add_free(pfn);
  }

  uint64_t node() const { return at + kNode * kPage; }
  /// The genuine text, but for what leads to the forgery.
  Kernel::Note text(const Kernel::Note& lines) const {
    Kernel::Note out = g.note;
    const auto say = [&](const std::string& key, const std::string& value) {
      std::erase_if(out, [&](const auto& line) { return line.first == key; });
      out.push_back({key, value});
    };
    say("SYMBOL(mem_section)", Kernel::hex(at + kRoot * kPage));
    for (const auto& [key, value] : lines) say(key, value);
    return out;
  }
  bool lost(const Seen& seen) const {
    for (uint64_t pfn = victims; pfn < victims + 32; pfn++)
      if (expendable(seen.at(pfn))) return true;
    return false;
  }

 private:
  static constexpr uint64_t kRoot = 64, kRow = 65, kNode = 66;  // pages of it, after the array

  void memory(uint64_t offset, uint64_t word) { g.memory.put(first * kPage + offset, word, 8); }
  void put(const std::string& type, uint64_t offset, const std::string& field, uint64_t value) {
    const Field& f = g.types.field(type, field);
    g.memory.put(first * kPage + offset + f.offset, value, f.type.bytes);
  }
  uint64_t area() const {
    return kNode * kPage + g.types.offset("pglist_data", "node_zones") + g.types.offset("zone", "free_area");
  }
  void add_zone() {
    const uint64_t zone = kNode * kPage + g.types.offset("pglist_data", "node_zones");
    put("zone", zone, "zone_start_pfn", 0), put("zone", zone, "spanned_pages", 4096);
    for (uint32_t order = 0; order < kOrders; order++)
      for (uint32_t type = 0; type < kMigrateTypes; type++) {
        const uint64_t head = area() + order * g.types.bytes("free_area") + 16 * type;
        memory(head, at + head);
      }
    put("free_area", area(), "nr_free", 32);
  }
  void add_free(uint64_t pfn) {
    const uint64_t link = 64 * pfn + g.types.offset("page", "buddy_list");
    put("page", 64 * pfn, "_mapcount", 0xf0000000), put("page", 64 * pfn, "_refcount", 0),
        put("page", 64 * pfn, "private", 0);
    memory(link, g.memory.get(first * kPage + area(), 8)), memory(area(), at + link);
  }

  Guest& g;
  uint64_t first, at;  // its first frame, and what its text calls that

 public:
  uint64_t victims = 0;  ///< the first of 32 pages in use that it calls free
};

constexpr uint64_t kForgedNote = 10;  // before the genuine one

/// Nothing of it is believed beside the genuine text, and nothing without that.
void check_forgery(Guest& g, const Forgery& forgery, const Kernel::Note& lines, std::string_view words) {
  const uint64_t honest = g.look().expendable_pages();
  g.write_note(kForgedNote, forgery.text(lines));
  const Seen seen = g.look();
  CHECK(seen.reason == "");
  CHECK(seen.expendable_pages() == honest);
  CHECK_FALSE(forgery.lost(seen));
  g.memory.fill(frame::kNote);
  check_refused(g, words);
}

}  // namespace

TEST_CASE("R2: a whole forgery in the user half of memory is not followed") {
  Guest g;
  const Forgery forgery(g, 0x00007f1234000000);
  // The node's address from a word of the image that people can write, as the host's name is one.
  g.set_word(g.image_va(frame::kData) + 2048, forgery.node());
  check_forgery(
      g, forgery,
      {{"SYMBOL(node_data)", Kernel::hex(g.image_va(frame::kData) + 2048)}, {"LENGTH(node_data)", "1"}},
      "leads to no struct page");
}

TEST_CASE("R2: of a whole forgery in the kernel's half of memory nothing is believed") {
  Guest g;
  SUBCASE("its node instead of the genuine ones") {
    const Forgery forgery(g);
    check_forgery(g, forgery, {{"SYMBOL(contig_page_data)", Kernel::hex(forgery.node())}},
                  "the node data is outside the kernel image");
  }
  SUBCASE("its node by a word of the image that people can write") {
    for (uint64_t place :
         {uint64_t{0}, kVmalloc}) {  // in the map of all memory, and where another region begins
      Guest other;
      const Forgery forgery(other, place);
      other.set_word(other.image_va(frame::kData) + 2048, forgery.node());
      check_forgery(
          other, forgery,
          {{"SYMBOL(node_data)", Kernel::hex(g.image_va(frame::kData) + 2048)}, {"LENGTH(node_data)", "1"}},
          "not where the kernel keeps it");
    }
  }
}

TEST_CASE("R2: the struct page array begins where the kernel's image says") {
  Guest g;
  SUBCASE("the image names another place") {
    g.memory.put(frame::kRegions * kPage + 512 + 16, kVmemmap + kGiB, 8);
    check_refused(g, "not where the kernel keeps it");
  }
  SUBCASE("only by a word that can be written") {
    g.memory.put(frame::kRegions * kPage + 512 + 16, 0, 8);
    g.set_word(g.image_va(frame::kData) + 2048, kVmemmap);
    check_refused(g, "not where the kernel keeps it");
  }
  SUBCASE("the image names a higher one, where something is mapped") {
    g.tables.map(kVmemmap + 4 * kGiB, g.anon * kPage, kWritable);
    g.memory.put(frame::kRegions * kPage, kVmemmap + 4 * kGiB, 8);
    check_refused(g, "not where the kernel keeps it");
  }
  SUBCASE("words where nothing is mapped, and those of regions that never move, do not count") {
    g.tables.map(0xfffffe0000000000, g.anon * kPage, 0);
    for (uint64_t i = 0; uint64_t word : {0xfffff54000000000, 0xfffffe0000000000, 0xffffffff80000000})
      g.memory.put(frame::kRegions * kPage + 8 * i++, word, 8);
    check_believed(g);
  }
  SUBCASE("the map of all memory is a region, and not that one") {
    g.memory.put(g.gpa(g.sections), kDirectMap | 0xf, 8);
    check_refused(g, "not where the kernel keeps it");
  }
}

TEST_CASE("R2: copies of one text are believed, of two texts that both agree with the kernel none is") {
  Guest g;
  const uint64_t honest = g.look().expendable_pages();
  for (uint64_t i = 0; i < 3; i++) g.write_note(g.take(), g.note);
  CHECK(g.look().expendable_pages() == honest);
  Kernel::Note other = g.note;
  SUBCASE("a line more") { other.push_back({"CRASHTIME", "1764000000"}); }
  SUBCASE("fewer sections") {
    for (auto& line : other)
      if (line.first == "LENGTH(mem_section)") line.second = "1";
  }
  g.write_note(kForgedNote, other);
  check_refused(g, "two different VMCOREINFO texts");
}
