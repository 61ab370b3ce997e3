// SPDX-License-Identifier: Apache-2.0
// R12 for what only a file system itself can tell of a file.
#include <doctest/doctest.h>

#include "guest/private.hh"

using namespace pars;
using namespace pars::test;

namespace {

Reason why_of(PrivateGuest& g, uint64_t pfn) {
  const Seen seen = g.look();
  REQUIRE(seen.reason == "");
  CHECK(seen.at(g.small[0]) == PageClass::clean_cache);
  CHECK(expendable(seen.at(pfn)) == is_recipe(seen.why(pfn)));
  return seen.why(pfn);
}

Reason in_tree(const KernelTypes& types, uint64_t id) {
  PrivateGuest g(types);
  const File file = g.make_private_file("btrfs", 12);
  g.set_tree(file, id);
  return why_of(g, g.add_marked(file, 64, 0).pfn);
}

}  // namespace

TEST_CASE("R12: only files of btrfs's subvolumes are expendable, not its caches of free space") {
  for (const auto& [kernel, types] : kFolioKernels) {
    for (int64_t id : {5, 256, 100000, -256}) CHECK(in_tree(types, uint64_t(id)) == Reason::btrfs_mark);
    for (int64_t id : {0, 1, 4, 6, 255, -255, -9, -1})
      CHECK(in_tree(types, uint64_t(id)) == Reason::inode_kind);
    PrivateGuest g(types);
    const File file = g.make_private_file("btrfs", 12);
    g.set("btrfs_inode", g.own_of(file, "btrfs_inode"), "root", 0);
    CHECK(why_of(g, g.add_marked(file, 64, 0).pfn) == Reason::file_unreadable);
  }
  CHECK(std::string(facts_of(Reason::inode_kind).rule) == "R12");
}

TEST_CASE("R12: a btrfs that remembers beside its pages what is up to date is critical") {
  KernelTypes linux_6_0 = linux_6_1();
  linux_6_0.structs["extent_io_tree"] = {40, {{"state", 0}, {"owner", 24, {1}}, {"track_uptodate", 25, {1}}}};
  for (const auto& [types, reason] :
       {std::pair(linux_6_1(), Reason::btrfs_mark), std::pair(linux_6_0, Reason::file_system_types)}) {
    PrivateGuest g(types);
    const File file = g.make_private_file("btrfs", 12);
    const uint64_t marked = g.add_marked(file, 64, 0).pfn, plain = g.add_folio(file, 65);
    CHECK(why_of(g, marked) == reason);
    CHECK(expendable(g.look().at(plain)) == (reason == Reason::btrfs_mark));
    CHECK(g.look().at(marked) ==
          (reason == Reason::btrfs_mark ? PageClass::clean_cache : PageClass::other_cache));
  }
}

TEST_CASE("R12: realtime files of XFS are critical") {
  for (const auto& [kernel, types] : kFolioKernels)
    for (uint64_t flags : {0, 1, 2, 3, 0x8000, 0x8001}) {
      PrivateGuest g(types);
      const File file = g.make_private_file("xfs", 12);
      g.set("xfs_inode", g.own_of(file, "xfs_inode"), "i_diflags", flags);
      CHECK(why_of(g, g.add_folio(file, 64)) == (flags & 1 ? Reason::inode_kind : Reason::plain));
    }
}

TEST_CASE("R12: a file system is critical when the types of its own inodes are not known") {
  for (const auto& [kernel, types] : kFolioKernels)
    for (const auto& [structure, field] :
         {std::pair("xfs_inode", "i_diflags"), std::pair("xfs_inode", "i_vnode"),
          std::pair("btrfs_inode", "root"), std::pair("btrfs_root", "root_key")}) {
      PrivateGuest g(types);
      KernelTypes less = types;
      const std::vector<uint8_t> blob = BtfWriter(less.drop(structure, field)).blob();
      g.memory.write(g.btf_frame * kPage + 8, blob.data(), blob.size());
      const bool xfs = std::string(structure) == "xfs_inode";
      const File file = g.make_private_file(xfs ? "xfs" : "btrfs", 12);
      CHECK(why_of(g, xfs ? g.add_folio(file, 64) : g.add_marked(file, 64, 0).pfn) ==
            Reason::file_system_types);
    }
}

TEST_CASE("R12: where realtime files cannot be told, an XFS of several devices is critical") {
  const auto look = [](auto change) {
    PrivateGuest g(linux_5_10());
    const File file = g.make_private_file("xfs", 12);
    g.set("super_block", file.super_block, "s_fs_info", g.allocate(64));
    change(g, file);
    return why_of(g, g.add_folio(file, 64));
  };
  CHECK(look([](PrivateGuest&, const File&) {}) == Reason::plain);
  CHECK(look([](PrivateGuest& g, const File&) { g.add_device("vdd", g.page_va(1)); }) == Reason::plain);
  CHECK(look([](PrivateGuest& g, const File& f) { g.add_device("vdd", f.super_block); }) ==
        Reason::inode_kind);
  CHECK(look([](PrivateGuest& g, const File& f) {
          g.add_device("vdd", g.get("super_block", f.super_block, "s_fs_info"));
        }) == Reason::inode_kind);
  CHECK(look([](PrivateGuest& g, const File&) { g.set_word(g.list_of_devices(), g.list_of_devices()); }) ==
        Reason::inode_kind);
  CHECK(look([](PrivateGuest& g, const File&) { g.set_word(g.list_of_devices(), 0); }) == Reason::inode_kind);
}
