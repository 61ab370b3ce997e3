// SPDX-License-Identifier: Apache-2.0
// R2 to R7 on guests made by hand: what makes a whole reading, or a whole segment, not believed.
#include <doctest/doctest.h>

#include <functional>

#include "guest/checks.hh"

using namespace pars;
using namespace pars::test;

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
