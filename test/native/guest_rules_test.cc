// SPDX-License-Identifier: Apache-2.0
// R2 to R7 on guests made by hand: what makes a whole reading, or a whole segment, not believed.
#include <doctest/doctest.h>

#include <functional>

#include "guest/guest.hh"

using namespace pars;
using namespace pars::test;

namespace {

/// The reading is refused for a reason that has these words, and nothing may be lost.
void check_refused(Guest& g, std::string_view words) {
  const Seen seen = g.look();
  CHECK_FALSE(seen.introspected);
  CHECK(seen.expendable_pages() == 0);
  CHECK(seen.recovery.folios.empty());
  CHECK_MESSAGE(seen.reason.find(words) != std::string::npos, seen.reason);
}

void check_believed(Guest& g) {
  const Seen seen = g.look();
  CHECK(seen.reason == "");
  CHECK(seen.at(g.small[0]) == PageClass::clean_cache);
  CHECK(seen.at(Guest::free_block(0)) == PageClass::free_page);
}

const std::map<std::string, KernelTypes> kKernels = {{"5.10", linux_5_10()},
                                                     {"6.1", linux_6_1()},
                                                     {"6.12", linux_6_12()},
                                                     {"7.1", linux_7_1()}};

}  // namespace

TEST_CASE("a healthy guest made by hand is read as it was made") {
  for (const auto& [key, types] : kKernels) {
    const auto& name = key;  // a lambda of clang 14 cannot take a structured binding
    CAPTURE(name);
    Guest g({.types = types});
    const Seen seen = g.look();
    REQUIRE(seen.reason == "");
    CHECK(seen.kernel_release == kRelease);
    for (uint64_t pfn : g.small) CHECK(seen.at(pfn) == PageClass::clean_cache);
    for (auto [order, pfn] : g.large)
      for (uint64_t i = 0; i < 1ull << order; i++) CHECK(seen.at(pfn + i) == PageClass::clean_cache);
    CHECK(seen.pages(PageClass::free_page) == 2047);
    CHECK(seen.at(g.anon) == PageClass::anon);
    CHECK(seen.at(g.shmem) == PageClass::shmem);
    CHECK(seen.at(g.slab) == PageClass::slab);
    CHECK(seen.at(g.table) == PageClass::page_table);
    CHECK(seen.at(g.offline) == PageClass::offline);
    CHECK(seen.at(g.movable) == PageClass::kernel);
    CHECK(seen.recovery.folios.size() == g.small.size() + g.large.size());
  }
}

TEST_CASE("R2: vCPUs on other page tables, or none, make a guest not introspected") {
  Guest g({.vcpus = 2});
  check_believed(g);
  SUBCASE("one vCPU on tables of something else") {
    g.memory.put(frame::kForgery * kPage + 8 * 273, 0x1003, 8);
    g.cpus[1].cr3 = frame::kForgery * kPage;
    check_refused(g, "page tables of something else");
  }
  SUBCASE("CR3 outside RAM") {
    g.cpus[1].cr3 = 1ull << 40;
    check_refused(g, "page tables of something else");
  }
  SUBCASE("one entry of the kernel half differs") {
    const uint64_t entry = frame::kProcess * kPage + 8 * 300;
    g.memory.put(entry, 0x5003, 8);
    check_refused(g, "page tables of something else");
  }
  SUBCASE("no vCPU has paging on") {
    for (Vcpu& cpu : g.cpus) cpu.cr0 = 0x11;
    check_refused(g, "no vCPU has paging on");
  }
  SUBCASE("a vCPU that waits without paging beside one that passes is fine") {
    g.cpus[1].cr0 = 0x11, g.cpus[1].cr3 = 0;
    check_believed(g);
  }
  SUBCASE("VMCOREINFO and CR4 disagree on five levels") {
    g.cpus[0].cr4 |= 1 << 12;
    check_refused(g, "5-level paging");
  }
  SUBCASE("no vCPU at all") {
    g.cpus.clear();
    check_refused(g, "vCPU");
  }
}

TEST_CASE(
    "R2: a vCPU whose tables have one entry that the kernel gives some processes needs another that proves "
    "the kernel") {
  for (bool five_levels : {false, true})
    for (int entry : {272, 400, 511, 300}) {
      CAPTURE(five_levels);
      CAPTURE(entry);
      Guest g({.five_levels = five_levels, .vcpus = 2});
      const std::vector<uint8_t> table(g.memory.page(frame::kProcess),
                                       g.memory.page(frame::kProcess) + kPage);
      g.memory.write(frame::kForgery * kPage, table.data(), kPage);
      g.memory.put(frame::kForgery * kPage + 8 * entry, frame::kHeap * kPage | 3, 8);
      g.cpus[1].cr3 = frame::kForgery * kPage;
      const bool own = entry == 511 || entry == (five_levels ? 400 : 272);
      if (own) check_believed(g);
      else check_refused(g, "page tables of something else");
      g.cpus[0].cr3 = frame::kForgery * kPage;
      check_refused(g, own ? "no other proves it" : "page tables of something else");
    }
}

TEST_CASE("R2: two entries of a vCPU's own are not explained") {
  Guest g({.vcpus = 2});
  const std::vector<uint8_t> table(g.memory.page(frame::kProcess), g.memory.page(frame::kProcess) + kPage);
  g.memory.write(frame::kForgery * kPage, table.data(), kPage);
  for (int entry : {272, 511}) g.memory.put(frame::kForgery * kPage + 8 * entry, frame::kHeap * kPage | 3, 8);
  g.cpus[1].cr3 = frame::kForgery * kPage;
  check_refused(g, "page tables of something else");
}

TEST_CASE("R2: five levels of page tables, and a vCPU on its user half, are followed") {
  for (bool user_half : {false, true}) {
    Guest five({.five_levels = true, .user_half = user_half});
    check_believed(five);
    Guest four({.user_half = user_half});
    check_believed(four);
  }
}

TEST_CASE("R2: a VMCOREINFO that the running kernel contradicts is not believed") {
  Guest g;
  SUBCASE("phys_base of another boot") {
    g.say("NUMBER(phys_base)", "0");
    check_refused(g, "");
  }
  SUBCASE("another release") {
    g.say("OSRELEASE", nullptr);
    g.note.insert(g.note.begin(), {"OSRELEASE", "6.12.98-hand-made"});
    g.write_note(frame::kNote, g.note);
    check_refused(g, "not what the kernel calls itself");
  }
  SUBCASE("_stext elsewhere") {
    g.say("SYMBOL(_stext)", "ffff888000100000");
    check_refused(g, "_stext is outside the kernel image");
  }
  SUBCASE("node data in memory that a process can have") {
    g.say("SYMBOL(node_data)", "ffff888000100000");
    check_refused(g, "the node data is outside the kernel image");
  }
  SUBCASE("swapper_pg_dir behind another address") {
    g.tables.map(g.image_va(frame::kSwapper), frame::kForgery * kPage, kWritable);
    check_refused(g, "swapper_pg_dir is not where phys_base says");
  }
  SUBCASE("it lies in a page of the page cache") {
    g.flag(frame::kNote, "PG_lru");
    check_refused(g, "not the kernel's own");
  }
  SUBCASE("it lies in a process's memory") {
    g.set_page(frame::kNote, "mapping", g.get_page(g.anon, "mapping"));
    check_refused(g, "not the kernel's own");
  }
  SUBCASE("there is none") {
    g.memory.fill(frame::kNote);
    check_refused(g, "no Linux kernel's VMCOREINFO");
  }
}

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

TEST_CASE("R3: only BTF in the read-only image of the running kernel counts") {
  SUBCASE("writable") {
    Guest g;
    g.tables.map(g.image_va(g.btf_frame + 7), (g.btf_frame + 7) * kPage, kWritable);
    check_refused(g, "has no BTF in its image");
  }
  SUBCASE("a page of it is missing") {
    Guest g;
    g.memory.put(g.tables.entry(g.image_va(g.btf_frame + 9), 1), 0, 8);
    check_refused(g, "has no BTF in its image");
  }
  SUBCASE("as long as a module's") {
    Guest g({.btf_bytes = 200u << 10});
    check_refused(g, "has no BTF in its image");
  }
  SUBCASE("a perfect copy in the page cache, none in the image") {
    Guest g;
    const uint64_t copy = g.take(128);
    for (uint64_t i = 0; i < 66; i++) {
      const std::vector<uint8_t> page(g.memory.page(g.btf_frame + i), g.memory.page(g.btf_frame + i) + kPage);
      g.memory.write((copy + i) * kPage, page.data(), kPage);
    }
    g.memory.fill(g.btf_frame);
    check_refused(g, "has no BTF in its image");
  }
}

TEST_CASE("R4: free memory that does not add up makes a guest not introspected") {
  const uint64_t big = Guest::free_block(9), small = Guest::free_block(0);
  const std::map<std::string, std::function<void(Guest&)>> breaks = {
      {"counters two apart",
       [&](Guest& g) {
         const uint64_t at = g.area(g.zone_of(big), 9);
         g.set("free_area", at, "nr_free", 3);
       }},
      {"a counter beyond all numbers",
       [&](Guest& g) { g.set("free_area", g.area(g.zone_of(big), 9), "nr_free", 1ull << 63); }},
      {"two blocks on no list", [&](Guest& g) { g.mark_free(1500, 0), g.mark_free(1502, 0); }},
      {"misaligned blocks",
       [&](Guest& g) {
         for (uint64_t pfn : {1501, 1505}) g.mark_free(pfn, 0), g.set_page(pfn, "private", 1);
       }},
      {"orders that no kernel has",
       [&](Guest& g) {
         for (uint64_t pfn : {1500, 1504}) g.mark_free(pfn, 0), g.set_page(pfn, "private", 63);
       }},
      {"a page in use in a block, and another",
       [&](Guest& g) {
         g.set_page(big + 3, "_refcount", 1), g.set_page(Guest::free_block(8) + 3, "_refcount", 1);
       }},
      {"pages on the LRU in blocks",
       [&](Guest& g) { g.flag(big + 3, "PG_lru"), g.flag(Guest::free_block(8) + 5, "PG_lru"); }},
      {"blocks inside blocks",
       [&](Guest& g) { g.mark_free(big + 4, 0), g.mark_free(Guest::free_block(8) + 4, 0); }},
      {"a block beyond its zone",
       [&](Guest& g) { g.set("zone", g.zone_of(big).va, "spanned_pages", small - 1024); }},
      {"a list that leads into another zone's",
       [&](Guest& g) {
         g.set("zone", g.zones[0].va, "spanned_pages", 4095);
         g.set_word(g.area(g.zones[0], 9), g.page_va(big) + 8);
       }},
      {"no zone",
       [&](Guest& g) {
         for (auto& z : g.zones) g.set("zone", z.va, "spanned_pages", 0);
       }},
      {"a list that leads out of the array",
       [&](Guest& g) { g.set_word(g.page_va(big) + 8, 0xffff888000000000); }},
      {"a list that never returns", [&](Guest& g) { g.set_word(g.page_va(big) + 8, g.page_va(big) + 8); }},
      {"a list of another zone", [&](Guest& g) { g.set_word(g.page_va(big) + 8, g.page_va(20) + 8); }},
  };
  for (const auto& [key, broken] : breaks) {
    const auto& name = key;  // a lambda of clang 14 cannot take a structured binding
    CAPTURE(name);
    Guest g;
    broken(g);
    check_refused(g, "(R4)");
  }
}

TEST_CASE("R4: where zones overlap, a block is of the zone on whose list it is") {
  Guest g;
  for (const auto& zone : g.zones)
    g.set("zone", zone.va, "zone_start_pfn", 0), g.set("zone", zone.va, "spanned_pages", 4096);
  check_believed(g);
  g.set("free_area", g.area(g.zones[0], 3), "nr_free", 2);
  check_refused(g, "(R4)");
}

TEST_CASE("R4: one block a vCPU may be in mid-operation, and is critical then") {
  SUBCASE("counted, not yet marked") {
    Guest g;
    g.set("free_area", g.area(g.zones[1], 9), "nr_free", 2);
    check_believed(g);
  }
  SUBCASE("marked, not yet on a list") {
    Guest g;
    g.mark_free(1500, 0);
    const Seen seen = g.look();
    CHECK(seen.reason == "");
    CHECK(seen.at(1500) == PageClass::kernel);
  }
  SUBCASE("marked over a page in use") {
    Guest g;
    g.mark_free(1500, 2), g.set_page(1501, "_refcount", 1);
    const Seen seen = g.look();
    CHECK(seen.reason == "");
    for (uint64_t pfn : {1500, 1501, 1502, 1503}) CHECK(seen.at(pfn) == PageClass::kernel);
  }
}

TEST_CASE("R5: folios that their file's tree does not hold condemn the reading") {
  const std::map<std::string, std::function<void(Guest&)>> breaks = {
      {"an empty slot", [](Guest& g) { g.set_word(g.slot_of(g.ext4.mapping, 64), 0); }},
      {"a slot with another page",
       [](Guest& g) { g.set_word(g.slot_of(g.ext4.mapping, 64), g.page_va(g.small[0])); }},
      {"a slot with a value", [](Guest& g) { g.set_word(g.slot_of(g.ext4.mapping, 64), 0x1235); }},
      {"another index", [](Guest& g) { g.set_page(g.small[4], "index", 99); }},
      {"another file", [](Guest& g) { g.set_page(g.small[4], "mapping", g.xfs.mapping); }},
      {"a node that is not in RAM",
       [](Guest& g) { g.set_word(g.root_slot(g.ext4.mapping), 0xffff900000000002); }},
      {"a tree that is a cycle",
       [](Guest& g) {
         const uint64_t root = g.word(g.root_slot(g.ext4.mapping));
         for (uint64_t i = 0; i < 64; i++) g.set_word(g.node_slot(root - 2, i), root);
       }},
  };
  for (const auto& [key, broken] : breaks) {
    const auto& name = key;  // a lambda of clang 14 cannot take a structured binding
    CAPTURE(name);
    Guest g;
    broken(g);
    check_refused(g, "(R5)");
  }
}

TEST_CASE("R5: one folio in a thousand may fail, and only it is critical") {
  Guest g({.cells = {32 * kMiB}});
  for (uint32_t order = 0; order < kOrders; order++) g.add_free(4096 + Guest::free_block(order), order);
  const File file = g.make_file("ext4", "vdc");
  std::vector<uint64_t> pages;
  for (uint64_t i = 0; i < 2000; i++) pages.push_back(g.add_folio(file, i));
  g.set_word(g.slot_of(file.mapping, 7), 0);
  g.set_word(g.slot_of(file.mapping, 8), 0);
  const Seen seen = g.look();
  REQUIRE(seen.reason == "");
  CHECK(seen.at(pages[6]) == PageClass::clean_cache);
  CHECK(seen.at(pages[7]) == PageClass::other_cache);
  CHECK(seen.at(pages[8]) == PageClass::other_cache);
  CHECK(seen.names("R5"));
  g.set_word(g.slot_of(file.mapping, 9), 0);
  check_refused(g, "(R5)");
}

TEST_CASE("R7: BTF that lacks what a class needs makes it critical, and says what") {
  using Name = std::pair<const char*, const char*>;
  for (auto [type, key] : {Name{"page", "_refcount"},
                           {"page", "_mapcount"},
                           {"page", "flags"},
                           {"page", "private"},
                           {"zone", "free_area"},
                           {"zone", "zone_start_pfn"},
                           {"free_area", "nr_free"},
                           {"mem_section", "section_mem_map"}}) {
    const char* const name = key;
    CAPTURE(name);
    KernelTypes types = linux_6_12();
    Guest g;  // with the whole BTF; then the one that lacks a field is put in its place
    const std::vector<uint8_t> blob = BtfWriter(types.drop(type, name)).blob();
    g.memory.write(g.btf_frame * kPage + 8, blob.data(), blob.size());
    check_refused(g, "the kernel's BTF lacks ");
  }
  for (const char* name : {"PG_locked", "PG_uptodate", "PG_dirty", "PG_lru", "PG_writeback", "PG_reserved",
                           "PG_private", "PG_swapbacked", "PG_unevictable", "PG_head"}) {
    CAPTURE(name);
    KernelTypes types = linux_6_12();
    Guest g;
    const std::vector<uint8_t> blob = BtfWriter(types.drop_bit("pageflags", name)).blob();
    g.memory.write(g.btf_frame * kPage + 8, blob.data(), blob.size());
    check_refused(g, name);
  }
}

TEST_CASE("R7: a file cache that is not fully known is critical; the rest is read") {
  using Name = std::pair<const char*, const char*>;
  for (auto [type, key] : {Name{"address_space", "wb_err"},
                           {"address_space", "host"},
                           {"address_space", "flags"},
                           {"address_space", "i_pages"},
                           {"inode", "i_mode"},
                           {"inode", "i_flags"},
                           {"inode", "i_sb"},
                           {"super_block", "s_bdev"},
                           {"super_block", "s_type"},
                           {"block_device", "bd_disk"},
                           {"gendisk", "disk_name"},
                           {"xa_node", "shift"},
                           {"xa_node", "slots"},
                           {"mapping_flags", "AS_EIO"},
                           {"mapping_flags", "AS_ENOSPC"},
                           {"mapping_flags", "AS_UNEVICTABLE"}}) {
    const char* const name = key;
    CAPTURE(name);
    KernelTypes types = linux_6_12();
    Guest g;
    for (uint64_t i = 0; i < 11; i++) g.add_free(1344 + 64 * i, 0);
    const bool bit = types.enums.contains(type);
    const std::vector<uint8_t> blob =
        BtfWriter(bit ? types.drop_bit(type, name) : types.drop(type, name)).blob();
    g.memory.write(g.btf_frame * kPage + 8, blob.data(), blob.size());
    const Seen seen = g.look();
    CHECK(seen.reason == "");
    CHECK(seen.pages(PageClass::clean_cache) == 0);
    CHECK(seen.at(g.small[0]) == PageClass::other_cache);
    CHECK(seen.at(Guest::free_block(3)) == PageClass::free_page);
    CHECK(seen.names("R7"));
  }
}

TEST_CASE("R7: flags that a kernel may lack count as clear") {
  KernelTypes types = linux_6_12();
  for (const char* name :
       {"PG_error", "PG_mlocked", "PG_hwpoison", "PG_private_2", "PG_checked", "PG_swapcache"})
    types.drop_bit("pageflags", name);
  Guest g({.types = types});
  check_believed(g);
}
