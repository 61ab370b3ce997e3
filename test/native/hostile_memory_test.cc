// SPDX-License-Identifier: Apache-2.0
// A guest that lies wherever it can: in its page tables, VMCOREINFO, BTF, struct pages, trees and lists. Each
// lie ends in "not introspected" or in critical pages, in bounded time, and reads nothing out of bounds (see
// scripts/sanitize).
#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <random>

#include "core/kernel/btf.hh"
#include "guest/guest.hh"

using namespace pars;
using namespace pars::test;

namespace {

/// Generous for a sanitizer on a busy machine, and far below what an unbounded walk would take.
constexpr auto kBound = std::chrono::seconds(60);

Seen look_in_time(Guest& g) {
  const auto begin = std::chrono::steady_clock::now();
  Seen seen = g.look();
  CHECK(std::chrono::steady_clock::now() - begin < kBound);
  return seen;
}

void check_refused(Guest& g) {
  const Seen seen = look_in_time(g);
  CHECK_FALSE(seen.introspected);
  CHECK_FALSE(seen.reason.empty());
  CHECK(seen.expendable_pages() == 0);
}

void write_btf(Guest& g, const std::vector<uint8_t>& blob) {
  g.memory.write(g.btf_frame * kPage + 8, blob.data(), blob.size());
}

void write_btf(Guest& g, const KernelTypes& types) { write_btf(g, BtfWriter(types).blob()); }

}  // namespace

TEST_CASE("hostile page tables: cycles and entries out of RAM, with four and five levels") {
  for (bool five : {false, true}) {
    CAPTURE(five);
    for (uint64_t lie : std::vector<uint64_t>{frame::kSwapper * kPage | 3, frame::kProcess * kPage | 3,
                                              0x000ffffffffff003, ~0ull, 0x83, 3}) {
      CAPTURE(lie);
      for (int level = 1; level <= (five ? 5 : 4); level++) {
        Guest image({.five_levels = five}), array({.five_levels = five});
        const uint64_t at = image.tables.entry(image.image_va(frame::kSwapper), level);
        image.memory.put(at, lie, 8);
        if (at / kPage == frame::kSwapper) image.memory.put(frame::kProcess * kPage + at % kPage, lie, 8);
        if (!(level == 1 && lie == (frame::kSwapper * kPage | 3)))
          check_refused(image);  // which would be the truth
        const uint64_t other = array.tables.entry(array.page_va(0), level);
        array.memory.put(other, lie, 8);
        if (other / kPage == frame::kSwapper)
          array.memory.put(frame::kProcess * kPage + other % kPage, lie, 8);
        CHECK(look_in_time(array).expendable_pages() == 0);
      }
    }
  }
}

TEST_CASE("hostile page tables: the whole image range maps one page that looks like BTF everywhere") {
  Guest g;
  std::vector<uint8_t> page(kPage);
  const std::vector<uint8_t> blob = BtfWriter(g.types).blob();
  for (size_t i = 0; i < kPage; i += 24) std::memcpy(&page[i], blob.data(), std::min<size_t>(24, kPage - i));
  const uint64_t pfn = g.take(512);
  for (uint64_t i = 0; i < 512; i++) g.memory.write((pfn + i) * kPage, page.data(), kPage);
  for (uint64_t va = kImageMap; va < kImageVa; va += 2 * kMiB) g.tables.map(va, pfn * kPage, 0, 2);
  check_refused(g);
}

TEST_CASE("hostile VMCOREINFO: numbers that are too large, too small, or no numbers") {
  for (const char* key :
       {"SYMBOL(init_uts_ns)", "SYMBOL(swapper_pg_dir)", "SYMBOL(_stext)", "SYMBOL(node_data)",
        "LENGTH(node_data)", "NUMBER(phys_base)", "NUMBER(SECTION_SIZE_BITS)", "SYMBOL(mem_section)",
        "LENGTH(mem_section)", "SIZE(mem_section)", "SIZE(page)", "OFFSET(page.flags)"})
    for (const char* value : {"0", "1", "-1", "ffffffffffffffff", "18446744073709551615",
                              "9223372036854775807", "-9223372036854775808", "63", "4294967296", "x", ""}) {
      CAPTURE(key);
      CAPTURE(value);
      Guest g;
      const uint64_t honest = g.look().expendable_pages();
      g.say(key, value);
      const Seen seen = look_in_time(g);
      CHECK((seen.expendable_pages() == 0 || seen.expendable_pages() == honest));
    }
}

TEST_CASE("hostile VMCOREINFO: a thousand notes that nearly pass") {
  Guest g;
  const uint64_t first = g.take(1024), honest = g.look().expendable_pages();
  for (uint64_t i = 0; i < 1000; i++) {
    Kernel::Note note = g.note;
    note.push_back({"NUMBER(KERNEL_IMAGE_SIZE)", std::to_string((512 << 20) + i * kPage)});
    std::erase_if(note, [](const auto& line) {
      return line.first == "SYMBOL(mem_section)" ||
             line == std::pair<std::string, std::string>{"NUMBER(KERNEL_IMAGE_SIZE)", "1073741824"};
    });
    g.write_note(first + i, note);
  }
  CHECK(look_in_time(g).expendable_pages() == honest);
}

TEST_CASE("hostile VMCOREINFO: more texts than are looked at, behind which the genuine one may hide") {
  const auto plant = [](Guest& g, uint64_t texts) {
    const uint64_t first = g.take(4096);
    for (uint64_t i = 0; i < texts; i++)
      g.write_note(first + i, {{"OSRELEASE", kRelease}, {"CRASHTIME", std::to_string(i)}});
  };
  Guest few({.cells = {32 * kMiB}});
  plant(few, 4095);
  CHECK(few.look().reason == "");
  Guest many({.cells = {32 * kMiB}});
  plant(many, 4096);
  check_refused(many);
}

TEST_CASE("hostile VMCOREINFO: thousands of texts that agree with the kernel up to their page array") {
  Guest g({.cells = {32 * kMiB}});
  for (uint64_t i = 0; i < 20; i++) g.add_free(3000 + 2 * i, 0);
  const uint64_t first = g.take(4096), honest = g.look().expendable_pages();
  CHECK(honest >= 20);
  for (uint64_t i = 0; i < 4000; i++) {
    Kernel::Note note = g.note;
    for (auto& line : note)
      if (line.first == "SYMBOL(mem_section)") line.second = "ffff8880" + std::to_string(10000000 + i * 1000);
    g.write_note(first + i, note);
  }
  CHECK(look_in_time(g).expendable_pages() == honest);
}

TEST_CASE("hostile BTF: offsets outside, counts without end, sizes that divide by nothing") {
  const auto with = [](const char* type, const char* field, uint32_t offset, FieldType of = {}) {
    KernelTypes types = linux_6_12();
    return types.drop(type, field).add(type, {field, offset, of});
  };
  const std::vector<std::pair<const char*, KernelTypes>> lies = {
      {"flags at the end", with("page", "flags", 60)},
      {"flags far away", with("page", "flags", 0x1fffffff)},
      {"refcount outside", with("page", "_refcount", 64, {4})},
      {"private outside", with("page", "private", 4096)},
      {"map count across the end", with("page", "_mapcount", 62, {4})},
      {"zones without end", with("pglist_data", "node_zones", 0, {0, "zone", 0xffffffff})},
      {"orders without end", with("zone", "free_area", 128, {0, "free_area", 0xffffffff})},
      {"lists without end", with("free_area", "free_list", 0, {0, "list_head", 0xffffffff})},
      {"large map count far away", with("folio", "_large_mapcount", 1 << 20, {4})},
      {"entire map count across the end", with("folio", "_entire_mapcount", 126, {4})},
      {"order far away", with("folio", "_flags_1", 1 << 28)},
      {"slots of a number no kernel has", with("xa_node", "slots", 40, {8, "", 0x10000000})},
  };
  for (const auto& [key, types] : lies) {
    const auto& name = key;  // a lambda of clang 14 cannot take a structured binding
    CAPTURE(name);
    Guest g;
    for (uint64_t i = 0; i < 11; i++) g.add_free(1344 + 64 * i, 0);
    write_btf(g, types);
    const Seen seen = look_in_time(g);
    CHECK(seen.pages(PageClass::clean_cache) == 0);
  }
  for (uint32_t bytes : {0u, 4097u, 0x80000000u}) {
    CAPTURE(bytes);
    KernelTypes types = linux_6_12();
    types.structs["mem_section"].bytes = bytes;
    Guest g;
    g.say("SIZE(mem_section)", nullptr);
    write_btf(g, types);
    check_refused(g);
  }
}

TEST_CASE("hostile BTF: unions inside unions, each as wide as can be") {
  // struct page { union { ... 65,000 anonymous members of its own type ... } }: a walk without a budget never
  // ends.
  std::vector<uint8_t> blob;
  const auto put32 = [&](uint32_t v) {
    for (int i = 0; i < 4; i++) blob.push_back(uint8_t(v >> 8 * i));
  };
  constexpr uint32_t kMembers = 65000, kTypes = 12 + 12 * kMembers;
  for (uint32_t word : {0x0001eb9fu, 24u, 0u, kTypes, kTypes, 6u, 1u, 4u << 24 | kMembers, 64u}) put32(word);
  for (uint32_t i = 0; i < kMembers; i++) put32(0), put32(1), put32(0);
  for (char c : std::string_view("\0page\0", 6)) blob.push_back(uint8_t(c));
  auto btf = Btf::parse(blob);
  REQUIRE(btf.ok());
  const auto begin = std::chrono::steady_clock::now();
  CHECK_FALSE(btf->member("page", "flags").has_value());
  CHECK(std::chrono::steady_clock::now() - begin < kBound);
}

TEST_CASE("hostile BTF: a million types with one name of a megabyte") {
  std::vector<uint8_t> blob;
  const auto put32 = [&](uint32_t v) {
    for (int i = 0; i < 4; i++) blob.push_back(uint8_t(v >> 8 * i));
  };
  constexpr uint32_t kCount = 500000, kName = 1 << 20;
  for (uint32_t word : {0x0001eb9fu, 24u, 0u, 12 * kCount, 12 * kCount, kName + 2}) put32(word);
  for (uint32_t i = 0; i < kCount; i++) put32(1), put32(4u << 24), put32(8);
  blob.push_back(0), blob.resize(blob.size() + kName, 'x'), blob.push_back(0);
  const auto begin = std::chrono::steady_clock::now();
  auto btf = Btf::parse(std::move(blob));
  REQUIRE(btf.ok());
  CHECK_FALSE(btf->struct_size("x").has_value());
  CHECK(std::chrono::steady_clock::now() - begin < kBound);
}

TEST_CASE("hostile struct pages: fields that point everywhere") {
  const std::vector<uint64_t> places = {0,
                                        1,
                                        2,
                                        3,
                                        ~0ull,
                                        1ull << 63,
                                        kDirectMap,
                                        kDirectMap + 1,
                                        kVmemmap,
                                        kVmemmap - 64,
                                        kVmemmap + (1ull << 40),
                                        kImageMap,
                                        0x0000800000000000};
  for (const char* field : {"mapping", "index", "private", "flags", "compound_head", "buddy_list"})
    for (uint64_t place : places) {
      CAPTURE(field);
      CAPTURE(place);
      Guest g;
      const uint64_t offset = g.types.offset("page", field);
      for (uint64_t pfn : {g.small[0], g.large[2], g.large[4] + 1, g.anon, g.slab})
        g.set_word(g.page_va(pfn) + offset, place);
      const Seen seen = look_in_time(g);
      if (std::string_view(field) == "mapping" || std::string_view(field) == "flags")
        CHECK_FALSE(expendable(seen.at(g.small[0])));
    }
}

TEST_CASE("hostile files: address spaces, inodes and super blocks that point at each other or nowhere") {
  const std::vector<uint64_t> places = {
      0, 1, ~0ull, 1ull << 63, kDirectMap - 1, kDirectMap + 16 * kMiB - 1, kVmemmap, kImageMap};
  for (uint64_t place : places) {
    CAPTURE(place);
    for (const auto& [type, key] :
         std::vector<std::pair<const char*, const char*>>{{"inode", "i_sb"},
                                                          {"super_block", "s_type"},
                                                          {"super_block", "s_bdev"},
                                                          {"block_device", "bd_disk"}}) {
      const char* const field = key;
      CAPTURE(field);
      Guest g;
      const uint64_t at = std::string_view(type) == "inode"         ? g.ext4.inode
                          : std::string_view(type) == "super_block" ? g.ext4.super_block
                                                                    : g.ext4.block_device;
      g.set(type, at, field, place);
      CHECK_FALSE(expendable(look_in_time(g).at(g.small[0])));
    }
    Guest host;
    host.set("address_space", host.ext4.mapping, "host", place);
    CHECK_FALSE(expendable(look_in_time(host).at(host.small[0])));
  }
  Guest stranger;  // an address_space that another file's inode does not contain
  stranger.set("address_space", stranger.ext4.mapping, "host", stranger.xfs.inode);
  CHECK_FALSE(expendable(look_in_time(stranger).at(stranger.small[0])));
}

TEST_CASE(
    "hostile files: thousands on a file system of one device, beside a list of as many devices as can be") {
  Guest g({.types = linux_5_10(), .cells = {32 * kMiB}});
  for (uint64_t i = 0; i < 20; i++) g.add_free(2112 + 64 * i, 0);
  const File file = g.make_file("xfs", "vdc");
  constexpr uint64_t kFiles = 4000, kDevices = 65000;
  const uint64_t list = g.take(128) * kPage, inodes = g.take(1024) * kPage, pages = g.take(4096);
  for (uint64_t i = 0; i < kDevices; i++) g.memory.put(list + 8 * i, kDirectMap + list + 8 * (i + 1), 8);
  g.memory.put(list + 8 * kDevices, g.list_of_devices(), 8);
  g.set_word(g.list_of_devices(), kDirectMap + list);
  std::vector<uint8_t> inode(g.types.bytes("inode"));
  g.memory.page(g.gpa(file.inode) / kPage);
  for (uint64_t i = 0; i < inode.size(); i++) inode[i] = uint8_t(g.memory.get(g.gpa(file.inode) + i, 1));
  for (uint64_t i = 0; i < kFiles; i++) {
    const uint64_t at = inodes + i * inode.size(),
                   mapping = kDirectMap + at + g.types.offset("inode", "i_data");
    g.memory.write(at, inode.data(), inode.size());
    g.set("address_space", mapping, "host", kDirectMap + at);
    g.flag(pages + i, "PG_lru"), g.flag(pages + i, "PG_uptodate"), g.set_page(pages + i, "mapping", mapping),
        g.memory.fill(pages + i);
  }
  const auto begin = std::chrono::steady_clock::now();
  const Seen seen = g.look();
  CHECK(std::chrono::steady_clock::now() - begin <
        std::chrono::seconds(5));  // a list for every file takes longer by far
  CHECK(seen.reason == "");
  CHECK(seen.count(Reason::inode_kind) == kFiles);
}

TEST_CASE("hostile trees: every slot leads back up, at every depth") {
  Guest g;
  const uint64_t root = g.word(g.root_slot(g.ext4.mapping));
  for (uint32_t shift : {0, 6, 12, 18, 60, 63, 64, 255}) {
    CAPTURE(shift);
    for (uint64_t i = 0; i < 64; i++) g.set_word(g.node_slot(root - 2, i), root);
    g.set("xa_node", root - 2, "shift", shift);
    CHECK(look_in_time(g).expendable_pages() == 0);
  }
  // A chain of nodes, each with 64 ways to the next: 64^10 paths.
  std::vector<uint64_t> nodes;
  for (int i = 0; i < 10; i++) nodes.push_back(g.make("xa_node"));
  for (int i = 0; i < 10; i++) {
    g.set("xa_node", nodes[i], "shift", 60 - 6 * i);
    for (uint64_t slot = 0; slot < 64; slot++)
      g.set_word(g.node_slot(nodes[i], slot), i + 1 < 10 ? nodes[i + 1] | 2 : g.page_va(g.small[0]));
  }
  g.set_word(g.root_slot(g.ext4.mapping), nodes[0] | 2);
  CHECK(look_in_time(g).expendable_pages() == 0);
}

TEST_CASE("hostile zones: nodes and lists without end") {
  SUBCASE("a node a thousand times") {
    Guest g;
    const uint64_t table = g.image_va(frame::kData) + 1024, node = g.word(table);
    g.say("LENGTH(node_data)", "18446744073709551615");
    for (uint64_t i = 0; i < 300; i++) g.set_word(table + 8 * i, node);
    check_refused(g);
  }
  SUBCASE("a node without free blocks a thousand times, whose lists are as long as can be") {
    Guest g({.cells = {32 * kMiB}});
    for (uint64_t i = 0; i < 200; i++) g.add_free(2048 + 2 * i, 0);
    const uint64_t node = g.make("pglist_data"), zone = node + g.types.offset("pglist_data", "node_zones"),
                   table = g.image_va(frame::kData) + 2048;
    g.set("zone", g.zones[1].va, "spanned_pages", 6144 - 1024);
    g.set("zone", zone, "zone_start_pfn", 6144), g.set("zone", zone, "spanned_pages", 2048);
    for (uint64_t list = 0; list < kOrders * kMigrateTypes; list++) {
      const uint64_t head = zone + g.types.offset("zone", "free_area") +
                            list / kMigrateTypes * g.types.bytes("free_area") + list % kMigrateTypes * 16;
      g.set_word(head, head), g.set_word(head + 8, head);
      for (uint64_t i = 0; i < 40; i++)
        g.push(head, g.page_va(6144 + list * 40 + i) + g.types.offset("page", "buddy_list"));
    }
    g.set_word(table, g.word(g.image_va(frame::kData) + 1024));
    g.say("SYMBOL(node_data)", Kernel::hex(table).c_str());
    CHECK(g.look().reason == "");
    for (uint64_t i = 1; i < 256; i++) g.set_word(table + 8 * i, node);
    g.say("LENGTH(node_data)", "256");
    check_refused(g);
  }
  SUBCASE("zones that wrap around") {
    Guest g;
    for (const auto& zone : g.zones)
      g.set("zone", zone.va, "zone_start_pfn", ~0ull), g.set("zone", zone.va, "spanned_pages", ~0ull);
    check_refused(g);
  }
}

TEST_CASE("hostile memory: bytes changed at random in what the kernel is read from") {
  // Whatever changes, an expendable page is one the honest guest could lose: the changes here make pages look
  // used, or lie about the rest.
  std::mt19937_64 random(20261125);
  const char* rounds = std::getenv("PARS_DAMAGE");
  for (int round = 0; round < (rounds ? std::min(atoi(rounds), 2000) : 60); round++) {
    CAPTURE(round);
    Guest g;
    const std::vector<std::pair<uint64_t, uint64_t>> regions = {
        {frame::kStructPages, 64},
        {frame::kHeap, 16},
        {frame::kTables, 20},
        {frame::kImage, frame::kImageEnd - frame::kImage},
        {frame::kNote, 1}};
    for (int i = 1 + random() % 16; i > 0; i--) {
      const auto [first, count] = regions[random() % regions.size()];
      const uint64_t at = (first + random() % count) * kPage + random() % 512 * 8;
      const uint64_t lies[] = {0,
                               ~0ull,
                               random(),
                               1ull << random() % 64,
                               g.memory.get(at, 8) ^ 1ull << random() % 64,
                               kDirectMap + random() % (16 * kMiB),
                               kVmemmap + random() % 4096 * 64};
      g.memory.put(at, lies[random() % 7], 8);
    }
    const Seen seen = look_in_time(g);
    if (!seen.introspected) CHECK(seen.expendable_pages() == 0);
    for (uint64_t pfn : {g.anon, g.shmem, g.slab, g.table}) (void)seen.at(pfn);
  }
}
