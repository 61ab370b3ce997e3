// SPDX-License-Identifier: Apache-2.0
// R8 to R14 on guests made by hand: one thing wrong with a clean folio or its file, and the folio is
// critical.
#include <doctest/doctest.h>

#include <functional>

#include "guest/guest.hh"

using namespace pars;
using namespace pars::test;

namespace {

using Break = std::function<void(Guest&)>;

/// Breaks a guest of each kernel in each of these ways and looks inside.
template <class Check>
void for_each_break(const std::map<std::string, Break>& breaks,
                    const std::map<std::string, KernelTypes>& kernels, Check check) {
  for (const auto& [release, types] : kernels)
    for (const auto& [key, broken] : breaks) {
      const std::string &kernel = release,
                        &name = key;  // a lambda of clang 14 cannot take a structured binding
      CAPTURE(kernel);
      CAPTURE(name);
      Guest g({.types = types});
      for (uint64_t i = 0; i < 11; i++) g.add_free(1344 + 64 * i, 0);
      const uint64_t other = g.add_folio(g.xfs, 2048);
      broken(g);
      const Seen seen = g.look();
      CHECK(seen.reason == "");
      CHECK(seen.at(other) == PageClass::clean_cache);
      check(g, seen);
    }
}

/// Each break makes the page small[0] critical, on every kernel it makes sense on; its neighbour stays clean.
void check_each(const std::map<std::string, Break>& breaks,
                const std::map<std::string, KernelTypes>& kernels = kKernels) {
  for_each_break(breaks, kernels, [](const Guest& g, const Seen& seen) {
    CHECK_FALSE(expendable(seen.at(g.small[0])));
    CHECK(seen.at(g.small[1]) == PageClass::clean_cache);
  });
}

/// Each break makes every page of the file `ext4` critical for this reason; the file `xfs` stays clean.
void check_file(const std::map<std::string, Break>& breaks, const std::map<std::string, KernelTypes>& kernels,
                Reason why) {
  for_each_break(breaks, kernels, [=](const Guest& g, const Seen& seen) {
    for (uint64_t pfn : g.small) {
      CHECK(seen.at(pfn) == PageClass::other_cache);
      CHECK(seen.why(pfn) == why);
    }
  });
}

Break flag(const char* name, bool on = true) {
  return [=](Guest& g) { g.flag(g.small[0], name, on); };
}
Break page(const char* field, uint64_t value) {
  return [=](Guest& g) { g.set_page(g.small[0], field, value); };
}
Break mapping_flag(const char* name) {
  return
      [=](Guest& g) { g.set("address_space", g.ext4.mapping, "flags", g.types.bit("mapping_flags", name)); };
}
Break inode_flag(uint32_t bit) {
  return [=](Guest& g) { g.set("inode", g.ext4.inode, "i_flags", 1u << bit); };
}
Break file_system(const char* name) {
  return [=](Guest& g) {
    g.set("file_system_type", g.get("super_block", g.ext4.super_block, "s_type"), "name", g.text(name));
  };
}
Break disk(const std::string& name) {
  return [=](Guest& g) {
    const uint64_t at =
        g.gpa(g.get("block_device", g.ext4.block_device, "bd_disk")) + g.types.offset("gendisk", "disk_name");
    g.memory.write(at, (name + std::string(32 - name.size(), '\0')).data(), 32);
  };
}

/// The large folio of this order is critical as a whole, and the others stay clean.
void check_large(Guest& g, uint32_t order, bool condemned = false) {
  const Seen seen = g.look();
  if (condemned) CHECK(seen.reason.find("R5") != std::string::npos);
  else CHECK(seen.reason == "");
  for (uint64_t i = 0; i < 1ull << order; i++) CHECK_FALSE(expendable(seen.at(g.large[order] + i)));
  if (!condemned) CHECK(seen.at(g.large[order == 2 ? 4 : 2]) == PageClass::clean_cache);
}

}  // namespace

TEST_CASE("R8: flags that are not those of an idle clean page make it critical") {
  std::map<std::string, Break> breaks = {{"not on the LRU", flag("PG_lru", false)},
                                         {"not uptodate", flag("PG_uptodate", false)}};
  for (const char* name :
       {"PG_dirty", "PG_writeback", "PG_locked", "PG_swapbacked", "PG_swapcache", "PG_unevictable",
        "PG_mlocked", "PG_private_2", "PG_hwpoison", "PG_reserved", "PG_error", "PG_checked"})
    breaks[name] = flag(name);
  check_each(breaks);
}

TEST_CASE("R8: a private word without its flag makes a page critical") {
  check_each({{"a word", page("private", 1)}, {"a pointer", page("private", kDirectMap + 4096)}});
}

TEST_CASE("R8: a page that the hardware has lost makes its whole folio critical") {
  for (const auto& [key, types] : kKernels)
    for (uint64_t tail : {1, 3, 15}) {
      Guest g({.types = types});
      if (!g.large.contains(4)) continue;
      g.flag(g.large[4] + tail, "PG_hwpoison");
      check_large(g, 4);
    }
  KernelTypes marked = linux_6_12();
  marked.enums["pageflags"]["PG_has_hwpoisoned"] = 8;
  Guest g({.types = marked});
  g.flag(g.large[4] + 1, "PG_has_hwpoisoned");
  check_large(g, 4);
}

TEST_CASE("R8: a page with a type, or a mapping that is none, is critical") {
  check_each({{"slab", [](Guest& g) { g.mark(g.small[0], "slab"); }},
              {"page table", [](Guest& g) { g.mark(g.small[0], "table"); }},
              {"offline", [](Guest& g) { g.mark(g.small[0], "offline"); }},
              {"no mapping", page("mapping", 0)},
              {"anonymous", [](Guest& g) { g.set_page(g.small[0], "mapping", g.ext4.mapping | 1); }},
              {"movable", [](Guest& g) { g.set_page(g.small[0], "mapping", g.ext4.mapping | 2); }},
              {"KSM", [](Guest& g) { g.set_page(g.small[0], "mapping", g.ext4.mapping | 3); }},
              {"a mapping in the user's half", page("mapping", 0x7f0000001000)},
              {"a mapping outside RAM", page("mapping", 0xffff890000000000)},
              {"mapped once", page("_mapcount", 0)},
              {"mapped a thousand times", page("_mapcount", 999)},
              {"a map count below none", page("_mapcount", 0xfffffffe)}});
  check_each({{"hugetlb", [](Guest& g) { g.mark(g.small[0], "hugetlb"); }},
              {"a type without a name here", page("_mapcount", 0xf9000000)}},
             {{"6.12", linux_6_12()}, {"7.1", linux_7_1()}});
}

TEST_CASE("R9: one reference more makes a clean folio critical, and so does one less") {
  check_each({{"one more", page("_refcount", 2)},
              {"none", page("_refcount", 0)},
              {"a GUP pin", page("_refcount", 1025)},
              {"negative", page("_refcount", 0xffffffff)},
              {"private without its reference", flag("PG_private")},
              {"private, and one more", [](Guest& g) { flag("PG_private")(g), page("_refcount", 3)(g); }}});
  for (const auto& [kernel, types] : kKernels)
    for (uint32_t order : {2, 6})
      for (int64_t off : {-1, 1}) {
        Guest g({.types = types});
        if (!g.large.contains(order)) continue;
        g.set_page(g.large[order], "_refcount", (1 << order) + off);
        check_large(g, order);
      }
}

TEST_CASE("R9: a tail with a count of its own makes its folio critical") {
  for (const auto& [kernel, types] : kKernels)
    for (uint32_t order : {2, 6}) {
      Guest g({.types = types});
      if (!g.large.contains(order)) continue;
      g.set_page(g.large[order] + (1ull << order) - 1, "_refcount", 1);
      check_large(g, order);
    }
}

TEST_CASE("R10: a large folio that its mapping does not declare is critical") {
  for (const auto& [kernel_key, types] : std::map<std::string, KernelTypes>{
           {"6.1", linux_6_1()}, {"6.12", linux_6_12()}, {"7.1", linux_7_1()}}) {
    const auto& kernel = kernel_key;
    CAPTURE(kernel);
    Guest undeclared({.types = types});
    undeclared.set("address_space", undeclared.xfs.mapping, "flags", 0);
    const Seen none = undeclared.look();
    for (auto [order, pfn] : undeclared.large) CHECK(none.at(pfn) == PageClass::other_cache);
    CHECK(none.at(undeclared.small[0]) == PageClass::clean_cache);
    CHECK(none.names("R10"));
    Guest huge({.types = types});  // khugepaged's read-only huge pages
    huge.set("address_space", huge.xfs.mapping, "nr_thps", 1);
    const Seen thps = huge.look();
    for (auto [order, pfn] : huge.large) CHECK(thps.at(pfn) == PageClass::other_cache);
    CHECK(thps.names("R10"));
    if (kernel == "6.1") continue;  // it declares any order or none
    Guest smaller({.types = types});
    smaller.allow_large(smaller.xfs, 4);
    const Seen some = smaller.look();
    CHECK(some.at(smaller.large[4]) == PageClass::clean_cache);
    CHECK(some.at(smaller.large[6]) == PageClass::other_cache);
  }
}

TEST_CASE("R10: map counts of large folios, wherever a kernel keeps them, must say unmapped") {
  for (const auto& [kernel_key, types] : std::map<std::string, KernelTypes>{
           {"6.1", linux_6_1()}, {"6.12", linux_6_12()}, {"7.1", linux_7_1()}}) {
    const auto& kernel = kernel_key;
    CAPTURE(kernel);
    for (const char* field : {"_mapcount", "_large_mapcount", "_entire_mapcount", "_total_mapcount"}) {
      CAPTURE(field);
      Guest g({.types = types});
      if (!types.has("page", field) && !types.has("folio", field)) continue;
      g.set_page(g.large[4], field, 0);
      check_large(g, 4);
    }
  }
  Guest g({.types = linux_6_1()});  // no _large_mapcount: every tail has its own
  g.set_page(g.large[4] + 13, "_mapcount", 0);
  check_large(g, 4);
}

TEST_CASE("R10: a folio whose head and tails disagree is critical") {
  for (const auto& [kernel_key, types] : std::map<std::string, KernelTypes>{
           {"6.1", linux_6_1()}, {"6.12", linux_6_12()}, {"7.1", linux_7_1()}}) {
    const auto& kernel = kernel_key;
    CAPTURE(kernel);
    const char* link = types.has("page", "compound_info") ? "compound_info" : "compound_head";
    const char* order = types.has("folio", "_folio_order") ? "_folio_order" : "_flags_1";
    const std::map<std::string, Break> breaks = {
        {"a tail of nothing", [=](Guest& g) { g.set_page(g.large[4] + 9, link, 0); }},
        {"a tail of another head",
         [=](Guest& g) { g.set_page(g.large[4] + 9, link, g.page_va(g.large[2]) | 1); }},
        {"a tail of a head outside the array",
         [=](Guest& g) { g.set_page(g.large[4] + 9, link, 0xffff888000000001); }},
        {"an order too large", [=](Guest& g) { g.set_page(g.large[4], order, 5); }},
        {"an order beyond all", [=](Guest& g) { g.set_page(g.large[4], order, 255); }},
        {"order zero", [=](Guest& g) { g.set_page(g.large[4], order, 0); }},
        {"a head that is a tail", [=](Guest& g) { g.set_page(g.large[4], link, g.page_va(g.large[2]) | 1); }},
    };
    for (const auto& [key, broken] : breaks) {
      const auto& name = key;  // a lambda of clang 14 cannot take a structured binding
      CAPTURE(name);
      Guest g({.types = types});
      broken(g);
      check_large(g, 4);
    }
    Guest shorter({.types = types});  // what its count of references does not fit, nor its tree
    shorter.set_page(shorter.large[4], order, 3);
    check_large(shorter, 4);
  }
}

TEST_CASE("R11: after a failed write-back no page of the file may be lost") {
  check_file({{"wb_err", [](Guest& g) { g.set("address_space", g.ext4.mapping, "wb_err", 5); }},
              {"AS_EIO", mapping_flag("AS_EIO")},
              {"AS_ENOSPC", mapping_flag("AS_ENOSPC")}},
             kKernels, Reason::write_back_error);
  CHECK(std::string(facts_of(Reason::write_back_error).rule) == "R11");
}

TEST_CASE("R12: encrypted, verity, DAX and swap files are critical") {
  check_file({{"S_SWAPFILE", inode_flag(8)},
              {"S_DAX", inode_flag(13)},
              {"S_ENCRYPTED", inode_flag(14)},
              {"S_VERITY", inode_flag(16)}},
             kKernels, Reason::inode_flags);
  CHECK(std::string(facts_of(Reason::inode_flags).rule) == "R12");
}

TEST_CASE("R13: a disk whose name has no end is critical") {
  check_file({{"a name without an end", disk(std::string(32, 'v'))}}, {{"6.12", linux_6_12()}},
             Reason::file_unreadable);
}

TEST_CASE("R8: clean pages of squashfs, which keeps nothing private, may be lost") {
  for_each_break({{"squashfs", file_system("squashfs")}}, kKernels, [](const Guest& g, const Seen& seen) {
    for (uint64_t pfn : g.small) CHECK(seen.at(pfn) == PageClass::clean_cache);
  });
}

TEST_CASE("R8: a file system that is not proven, or has no disk, keeps its clean pages") {
  std::map<std::string, Break> breaks;
  for (const char* name : {"ramfs", "rootfs", "tmpfs", "secretmem", "kvm_guest_memfd", "overlay", "nfs", "9p",
                           "virtiofs", "fuse", "fuseblk", "ext1", "ext", "erofs", "bdev", "", "ext4x", "xf"})
    breaks[name] = file_system(name);
  check_file(breaks, kKernels, Reason::file_system);
  check_file({{"no s_bdev", [](Guest& g) { g.set("super_block", g.ext4.super_block, "s_bdev", 0); }}},
             kKernels, Reason::no_block_device);
  check_file({{"an s_bdev outside RAM",
               [](Guest& g) { g.set("super_block", g.ext4.super_block, "s_bdev", 0xffff890000000000); }},
              {"no type", [](Guest& g) { g.set("super_block", g.ext4.super_block, "s_type", 0); }}},
             kKernels, Reason::file_unreadable);
}

TEST_CASE("R8: what is no regular file keeps its clean pages: block devices, directories, internal inodes") {
  std::map<std::string, Break> breaks;
  for (uint64_t mode : {0ul, 0600ul, 0040755ul, 0060600ul, 0020600ul, 0120777ul, 0140755ul, 0010644ul})
    breaks["mode " + std::to_string(mode)] = [=](Guest& g) { g.set("inode", g.ext4.inode, "i_mode", mode); };
  check_file(breaks, kKernels, Reason::not_regular);
}

TEST_CASE(
    "R8: a mapping that is not its host's own keeps its clean pages, as an overlay's inode has none that "
    "count") {
  const auto host = [](uint64_t va) -> Break {
    return [=](Guest& g) { g.set("address_space", g.ext4.mapping, "host", va); };
  };
  check_file(
      {{"no host", host(0)},
       {"a host outside RAM", host(0xffff890000000000)},
       {"another file's inode",
        [](Guest& g) { g.set("address_space", g.ext4.mapping, "host", g.xfs.inode); }},
       {"an overlay's inode over the real one",
        [](Guest& g) { g.set("address_space", g.ext4.mapping, "host", g.make_file("overlay", "").inode); }}},
      kKernels, Reason::file_unreadable);
}

TEST_CASE("R8: unevictable and inaccessible mappings keep their clean pages") {
  check_file({{"AS_UNEVICTABLE", mapping_flag("AS_UNEVICTABLE")}}, kKernels, Reason::pinned_mapping);
  check_file({{"AS_INACCESSIBLE", mapping_flag("AS_INACCESSIBLE")}},
             {{"6.12", linux_6_12()}, {"7.1", linux_7_1()}}, Reason::pinned_mapping);
}

TEST_CASE("R14: a kernel that reads its page cache without references has no clean cache") {
  KernelTypes types = linux_6_12();
  types.add("address_space", {"i_pages_delete_seqcnt", 124, {4}});
  Guest g({.types = types});
  for (uint64_t i = 0; i < 11; i++)
    g.add_free(1344 + 64 * i, 0);  // the caches' trees no longer prove the segment
  const Seen seen = g.look();
  CHECK(seen.reason == "");
  CHECK(seen.pages(PageClass::clean_cache) == 0);
  CHECK(seen.pages(PageClass::free_page) == 2058);
  CHECK(seen.names("R14"));
}

TEST_CASE("R8: recovery clears PG_uptodate of each clean folio's head, and touches critical pages only") {
  for (const auto& [key, types] : kKernels) {
    const auto& kernel = key;  // a lambda of clang 14 cannot take a structured binding
    CAPTURE(kernel);
    Guest g({.types = types});
    const Seen seen = g.look();
    for (const RecoveryWrite& w : seen.recovery.writes) {
      CHECK(w.mask == types.bit("pageflags", "PG_uptodate"));
      CHECK(w.value == 0);
      bool held = false;
      for (uint64_t pfn = 0; pfn < 4096; pfn++)
        if (g.memory.location(pfn) != kZeroPage && w.image_offset / kPage == g.memory.location(pfn) / kPage)
          held = !expendable(seen.at(pfn));
      CHECK(held);
    }
  }
}

TEST_CASE(
    "R8: a folio whose recovery would touch the image's head, or whose pages lie far apart, is critical") {
  Guest g;
  CHECK(g.look(g.memory.image().size()).pages(PageClass::clean_cache) == 0);
  Guest scattered;
  auto& image = scattered.memory.image();
  image.resize(image.size() + 2 * kStripePages * kPage);
  const uint64_t far = image.size() - kPage;
  std::memcpy(&image[far], scattered.memory.page(scattered.large[4] + 3), kPage);
  scattered.memory.location(scattered.large[4] + 3) = far;
  check_large(scattered, 4);
}

TEST_CASE("R8: a page in a free block and in a folio at once is neither") {
  for (auto [key, types] : std::map<std::string, KernelTypes>{{"6.12", linux_6_12()}, {"7.1", linux_7_1()}}) {
    const auto& kernel = key;  // a lambda of clang 14 cannot take a structured binding
    CAPTURE(kernel);
    types.drop("page", "buddy_list")
        .add("page", {"buddy_list", 24, {0, "list_head"}});  // else a link of the list is no link of a tail
    for (uint32_t order : {0, 1, 3}) {
      Guest g({.types = types});
      CHECK(g.look().at(g.large[6]) == PageClass::clean_cache);
      g.add_free(g.large[6] + 8, order);
      check_large(g, 6);
      CHECK(g.look().count(Reason::claimed_twice) == 64);
    }
  }
}
