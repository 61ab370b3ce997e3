// SPDX-License-Identifier: Apache-2.0
// R14 for the kernels of tomorrow: a member never met in the types that prove a clean page makes clean cache
// critical.
#include <doctest/doctest.h>

#include "core/kernel/known_members.hh"
#include "guest/private.hh"

using namespace pars;
using namespace pars::test;

namespace {

/// The whole cache is critical for this reason, its note names the member, and free memory is as it was.
void check_named(const KernelTypes& types, const std::string& member) {
  Guest g({.types = types});
  for (uint64_t i = 0; i < 11; i++) g.add_free(1344 + 64 * i, 0);  // no tree proves the segment (R6)
  const Seen seen = g.look();
  REQUIRE(seen.reason == "");
  CHECK(seen.why(g.small[0]) == Reason::unknown_member);
  CHECK(seen.pages(PageClass::clean_cache) == 0);
  CHECK(seen.at(Guest::free_block(3)) == PageClass::free_page);
  CHECK(seen.recovery.folios.empty());
  CHECK(seen.unknown_member == member);
  const auto names_it = [&](const auto& note) { return note.first.find(member) != std::string::npos; };
  CHECK(std::any_of(seen.notes.begin(), seen.notes.end(), names_it));
}

Btf parsed(const KernelTypes& types) { return std::move(*Btf::parse(BtfWriter(types).blob())); }

}  // namespace

TEST_CASE("R14: the members of the kernels that are there are known") {
  for (const auto& [key, types] : kKernels) {
    const auto& name = key;  // a lambda of clang 14 cannot take a structured binding
    CAPTURE(name);
    CHECK(unknown_member(parsed(types)).value_or("") == "");
    CHECK(unknown_btrfs_member(parsed(types)).value_or("") == "");
  }
}

TEST_CASE("R14: a member that was never met makes clean cache critical and is named") {
  for (const char* type : {"address_space", "folio", "buffer_head", "iomap_folio_state"}) {
    CAPTURE(type);
    check_named(linux_6_12().add(type, {"new_thing", 8, {4}}), std::string(type) + ".new_thing");
  }
  for (const char* type : {"mapping_flags", "pageflags", "bh_state_bits"}) {
    CAPTURE(type);
    KernelTypes types = linux_6_12();
    types.enums[type]["NEW_thing"] = 30;
    check_named(types, std::string(type) + ".NEW_thing");
  }
  check_named(linux_6_1().add("iomap_page", {"new_thing", 12, {4}}), "iomap_page.new_thing");
}

TEST_CASE("R14: a member that only one of several copies has is met as well") {
  KernelTypes types = linux_6_12();
  types.copy("address_space");
  types.copies.back().second.fields.push_back({"new_thing", 184, {}});
  check_named(types, "address_space.new_thing");
}

TEST_CASE("R14: padding, and what lies beyond a folio's first struct page, need not be known") {
  KernelTypes types = linux_6_12();
  types.add("folio", {"_new_thing", 128, {}});
  for (const char* name : {"rh_reserved1", "android_kabi_reserved1", "suse_kabi_padding", "kabi_reserved2"})
    types.add("address_space", {name, 184, {}});
  Guest g({.types = types});
  CHECK(g.look().at(g.small[0]) == PageClass::clean_cache);
}

TEST_CASE("R14: an unknown member of btrfs's folio states makes btrfs critical, and nothing else") {
  PrivateGuest g(linux_7_1().add("btrfs_folio_state", {"new_thing", 4, {4}}));
  const File file = g.make_private_file("btrfs", 12);
  const uint64_t marked = g.add_marked(file, 64, 0).pfn;
  const Seen seen = g.look();
  REQUIRE(seen.reason == "");
  CHECK(seen.why(marked) == Reason::unknown_member);
  CHECK(seen.at(g.small[0]) == PageClass::clean_cache);
  CHECK(seen.unknown_member == "btrfs_folio_state.new_thing");
}
