// SPDX-License-Identifier: Apache-2.0
// R8 and R13 for btrfs: folios with its mark or its blocks, and the disks that a file system holds.
#include <doctest/doctest.h>

#include <functional>

#include "guest/private_checks.hh"

using namespace pars;
using namespace pars::test;

namespace {

/// The mark is btrfs's alone: with ext4 and XFS it is no state.
void check_unmarked_elsewhere() {
  const Break marked = [](PrivateGuest& g, PrivateFolio& f) { g.set_page(f.pfn, "private", 1); };
  check_breaks(kSmallBlocks, {{"ext4", marked}});
  check_breaks(kSmallIomap, {{"xfs", marked}});
}

}  // namespace

TEST_CASE("R8: a folio with btrfs's mark is lost, and keeps the mark") {
  for (const auto& [key, types] : kFolioKernels) {
    const std::string& kernel = key;
    CAPTURE(kernel);
    Pair p(types, kMarked);
    const Seen seen = p.guest.look();
    CHECK(seen.at(p.victim.pfn) == PageClass::clean_cache);
    CHECK(seen.why(p.victim.pfn) == Reason::btrfs_mark);
    CHECK(cleared(p.guest, seen, p.victim) == uptodate_of(p.guest, p.victim));
    CHECK(seen.why(p.guest.device_page()) == Reason::not_regular);
  }
}

TEST_CASE("R8: private state of btrfs that is not its mark makes the folio critical") {
  auto breaks = pointer_breaks();
  breaks.erase("private 1"), breaks.erase("private off by one"), breaks.erase("private off by a word");
  breaks["private 3"] = [](PrivateGuest& g, PrivateFolio& f) { g.set_page(f.pfn, "private", 3); };
  breaks["private 1 and more"] = [](PrivateGuest& g, PrivateFolio& f) {
    g.set_page(f.pfn, "private", 1ull << 32 | 1);
  };
  breaks["a state of its blocks"] = [](PrivateGuest& g, PrivateFolio& f) {
    g.set_page(f.pfn, "private", g.allocate(64));
  };
  check_breaks(kMarked, breaks, Reason::private_unknown, {{"6.1", linux_6_1()}, {"6.12", linux_6_12()}});
  check_breaks(kMarked, breaks, Reason::private_busy, kBtrfsBlocks);
  check_unmarked_elsewhere();
}

TEST_CASE("R8: a folio with all its btrfs blocks up to date is lost with their bits") {
  for (const Recipe& recipe : {kLargeBtrfs, kPairBtrfs}) {
    Pair p(linux_7_1(), recipe);
    const Seen seen = p.guest.look();
    for (uint64_t i = 0; i < 1ull << recipe.order; i++)
      CHECK(seen.at(p.victim.pfn + i) == PageClass::clean_cache);
    CHECK(seen.why(p.victim.pfn) == Reason::btrfs_blocks);
    auto expected = uptodate_of(p.guest, p.victim);
    for (uint64_t i = 0; i < p.victim.blocks(); i++)
      expected[p.guest.gpa(p.victim.state) + 8 + i / 8] |= 1 << i % 8;
    CHECK(cleared(p.guest, seen, p.victim) == expected);
  }
}

TEST_CASE("R8: btrfs blocks that are not those of a clean, idle folio make it critical") {
  const auto field = [](const char* name) -> Break {
    return [=](PrivateGuest& g, PrivateFolio& f) { g.set("btrfs_folio_state", f.state, name, 1); };
  };
  std::map<std::string, Break> breaks = pointer_breaks();
  breaks["its lock is held"] = field("lock"), breaks["a block is locked"] = field("nr_locked");
  breaks["marked"] = [](PrivateGuest& g, PrivateFolio& f) { g.set_page(f.pfn, "private", 1); };
  for (uint64_t bit : {0, 1, 15})
    breaks["block " + std::to_string(bit) + " is not up to date"] = [=](PrivateGuest& g, PrivateFolio& f) {
      g.set_btrfs_bit(f, bit, false);
    };
  for (uint64_t bit = 16; bit < 64; bit++)
    breaks["bit " + std::to_string(bit) + " of another map"] = [=](PrivateGuest& g, PrivateFolio& f) {
      g.set_btrfs_bit(f, bit, true);
    };
  check_breaks(kLargeBtrfs, breaks, Reason::private_busy, kBtrfsBlocks);
}

TEST_CASE("R8: btrfs blocks are critical when BTF tells of other bitmaps, or lacks a field") {
  const KernelTypes types = linux_7_1();
  for (const auto& [key, value] : types.enums.at("")) {
    const std::string& name = key;
    if (!name.starts_with("btrfs")) continue;
    CAPTURE(name);
    KernelTypes less = types;
    check_unknown(types, kLargeBtrfs, less.drop_bit("", name));
  }
  KernelTypes more = linux_7_1();
  more.enums[""]["btrfs_bitmap_nr_max"] = 6;
  check_unknown(linux_7_1(), kLargeBtrfs, more);
  for (const char* name : {"lock", "nr_locked", "bitmaps"}) {
    KernelTypes less = linux_7_1();
    check_unknown(linux_7_1(), kLargeBtrfs, less.drop("btrfs_folio_state", name));
  }
}

namespace {

/// The whole file is critical for this reason; with `Reason::btrfs_mark` it is not.
void check_devices(const std::function<void(PrivateGuest&, const File&)>& change, Reason why) {
  for (const auto& [key, types] : kFolioKernels) {
    const std::string& kernel = key;
    CAPTURE(kernel);
    Pair p(types, kMarked);
    change(p.guest, p.file);
    const Seen seen = p.guest.look();
    REQUIRE(seen.reason == "");
    for (uint64_t pfn : {p.victim.pfn, p.neighbour.pfn}) {
      CHECK(seen.why(pfn) == why);
      CHECK(expendable(seen.at(pfn)) == is_recipe(why));
    }
    CHECK(seen.at(p.guest.small[0]) == PageClass::clean_cache);
  }
}

}  // namespace

TEST_CASE("R13: every disk that a btrfs holds must be proven") {
  for (const char* name : {"nbd0", "rbd1", "ram0", "zram0", "loop0", "dm-0", "md0", ""}) {
    CAPTURE(name);
    const std::string_view disk = name;
    const bool stacked = disk == "loop0" || disk == "dm-0" || disk == "md0";
    check_devices([=](PrivateGuest& g, const File& f) { g.add_device(name, g.holder_of(f)); },
                  stacked ? Reason::disk_stack : Reason::disk);
    check_devices([=](PrivateGuest& g, const File&) { g.add_device(name, 0); }, Reason::btrfs_mark);
    check_devices([=](PrivateGuest& g, const File&) { g.add_device(name, g.page_va(1)); },
                  Reason::btrfs_mark);
  }
  check_devices([](PrivateGuest& g, const File& f) { g.add_device("sdb", g.holder_of(f)); },
                Reason::btrfs_mark);
  check_devices(
      [](PrivateGuest& g, const File& f) {
        g.set("block_device", g.add_device("sdb", g.holder_of(f)), "bd_disk", 0);
      },
      Reason::file_unreadable);
  CHECK(std::string(facts_of(Reason::disk).rule) == "R13");
}

TEST_CASE("R13: a btrfs whose disks cannot all be found is critical") {
  check_devices([](PrivateGuest& g, const File&) { g.set_word(g.list_of_devices(), g.list_of_devices()); },
                Reason::no_block_device);
  check_devices([](PrivateGuest& g, const File&) { g.set_word(g.list_of_devices(), 0); },
                Reason::no_block_device);
  check_devices([](PrivateGuest& g, const File&) { g.set_word(g.list_of_devices(), 0xffff890000000000); },
                Reason::no_block_device);
  check_devices(
      [](PrivateGuest& g, const File& f) { g.set_word(g.link_of(g.add_device("vdd", g.holder_of(f))), 0); },
      Reason::no_block_device);
  check_devices(
      [](PrivateGuest& g, const File& f) {  // in circles, past the end
        const uint64_t link = g.link_of(g.add_device("vdd", g.holder_of(f)));
        g.set_word(link, link);
      },
      Reason::no_block_device);
  check_devices([](PrivateGuest& g, const File& f) { g.set_word(f.super_block, 0); },
                Reason::no_block_device);
  check_devices(
      [](PrivateGuest& g, const File&) {
        g.set("file_system_type",
              g.get("super_block", g.list_of_devices() - g.types.offset("super_block", "s_inodes"), "s_type"),
              "name", g.text("other"));
      },
      Reason::no_block_device);
}

TEST_CASE("R13: a btrfs needs no page of a disk in the cache") {
  check_devices([](PrivateGuest& g, const File&) { g.flag(g.device_page(), "PG_lru", false); },
                Reason::btrfs_mark);
}

TEST_CASE("R13: a btrfs is critical when BTF lacks what leads to its disks") {
  const std::pair<const char*, const char*> fields[] = {{"block_device", "bd_holder"},
                                                        {"super_block", "s_inodes"},
                                                        {"inode", "i_sb_list"},
                                                        {"bdev_inode", "bdev"},
                                                        {"bdev_inode", "vfs_inode"}};
  for (const auto& [key, types] : kFolioKernels)
    for (const auto& [structure, field] : fields) {
      KernelTypes less = types;
      check_unknown(types, kMarked, less.drop(structure, field), Reason::no_block_device);
    }
}
