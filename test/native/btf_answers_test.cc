// SPDX-License-Identifier: Apache-2.0
// The three answers of BTF: found, absent, ambiguous. What is absent may be good news, what is ambiguous
// never is (R7).
#include <doctest/doctest.h>

#include <functional>

#include "guest/private.hh"

using namespace pars;
using namespace pars::test;

namespace {

Btf parsed(const KernelTypes& types) {
  auto btf = Btf::parse(BtfWriter(types).blob());
  REQUIRE(btf.ok());
  return std::move(*btf);
}

/// Two structs "thing": the first as it is, the second as `change` makes it.
KernelTypes two_things(const std::function<void(Structure&)>& change) {
  KernelTypes types;
  types.structs["part"] = {16, {{"low", 0}, {"high", 8, {4}}}};
  types.structs["thing"] = {
      64, {{"flags", 0}, {"count", 8, {4}}, {"names", 12, {1, "", 8}}, {"part", 24, {0, "part"}}}};
  types.copy("thing");
  change(types.copies.back().second);
  return types;
}

void check_ambiguous(const Btf& btf, const char* path) {
  const auto answer = btf.member("thing", path);
  CHECK(answer.is_ambiguous());
  CHECK_FALSE(answer.is_absent());
  CHECK_FALSE(answer.has_value());
}

/// A second copy of a struct, changed.
KernelTypes with_copy(KernelTypes types, const std::string& name,
                      const std::function<void(Structure&)>& change) {
  types.copy(name);
  change(types.copies.back().second);
  return types;
}

void as_it_is(Structure&) {}

}  // namespace

TEST_CASE("BTF: copies that agree on a member are one, whatever else differs between them") {
  const Btf btf = parsed(two_things([](Structure& s) {
    s.bytes = 72;
    s.fields[0].offset = 56;
    s.fields.push_back({"more", 64, {}});
  }));
  CHECK(btf.member("thing", "count")->offset == 8u);
  CHECK(btf.member("thing", "part.high")->offset == 32u);
  CHECK(btf.member("thing", "names")->elements == 8u);
  check_ambiguous(btf, "flags");
  check_ambiguous(btf, "more");
  CHECK(btf.struct_size("thing").is_ambiguous());
  CHECK(btf.struct_size("part") == 16u);
  CHECK(btf.member("thing", "nothing").is_absent());
  CHECK(btf.member("thing", "part.nothing").is_absent());
  CHECK(btf.member("nothing", "at all").is_absent());
}

TEST_CASE("BTF: copies that differ in place, size or length of a member, or in having it, are ambiguous") {
  check_ambiguous(parsed(two_things([](Structure& s) { s.fields[1].offset = 4; })), "count");
  check_ambiguous(parsed(two_things([](Structure& s) { s.fields[1].type.bytes = 2; })), "count");
  check_ambiguous(parsed(two_things([](Structure& s) { s.fields[2].type.elements = 7; })), "names");
  check_ambiguous(parsed(two_things([](Structure& s) { s.fields.pop_back(); })), "part.high");
  check_ambiguous(parsed(two_things([](Structure& s) { s.fields[3].type = {8, ""}; })), "part.high");
}

TEST_CASE("BTF: a module's own copy of a struct of the kernel's must agree with it") {
  KernelTypes kernel, module;
  kernel.structs["thing"] = {16, {{"flags", 0}, {"count", 8}}};
  module.copies.push_back({"thing", {16, {{"flags", 0}, {"count", 4, {4}}}}});
  const BtfWriter base(kernel);
  auto types = std::make_shared<const Btf>(parsed(kernel));
  auto btf = Btf::parse(BtfWriter(module, base).blob(0), types);
  REQUIRE(btf.ok());
  CHECK(btf->member("thing", "flags").has_value());
  CHECK(btf->member("thing", "count").is_ambiguous());
}

TEST_CASE("BTF: enumerators of several enums of one name must agree; those without a name are no copies") {
  KernelTypes types;
  types.enums["bits"] = {{"one", 1}, {"two", 2}, {"three", 3}};
  types.enum_copies.push_back({"bits", {{"one", 1}, {"two", 4}}});
  types.enums[""] = {{"alone", 7}, {"both", 8}};
  types.enum_copies.push_back({"", {{"other", 9}, {"both", 10}}});
  const Btf btf = parsed(types);
  CHECK(btf.enumerator("bits", "one") == 1);
  CHECK(btf.enumerator("bits", "two").is_ambiguous());
  CHECK(btf.enumerator("bits", "three").is_ambiguous());
  CHECK(btf.enumerator("bits", "four").is_absent());
  CHECK(btf.enumerator("", "alone") == 7);
  CHECK(btf.enumerator("", "other") == 9);
  CHECK(btf.enumerator("", "both").is_ambiguous());
}

TEST_CASE("BTF: a bit field is there, though it has no bytes of its own") {
  const std::vector<uint8_t> blob = {
      0x9f, 0xeb, 1, 0,   24,  0,   0, 0,    0, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0, 0,
      8,    0,    0, 0,   0,   0,   0, 0,    0, 0, 0, 1, 4,  0, 0, 0, 32, 0, 0, 0,  // an int
      1,    0,    0, 0,   1,   0,   0, 0x84, 4, 0, 0, 0,  // struct "s" with bit fields: one member,
      3,    0,    0, 0,   1,   0,   0, 0,    8, 0, 0, 1,  // "bit", of one bit, at bit 8
      0,    's',  0, 'b', 'i', 't', 0, 0};
  auto btf = Btf::parse(blob);
  REQUIRE(btf.ok());
  CHECK(btf->member("s", "bit").is_ambiguous());
  CHECK(btf->member("s", "other").is_absent());
}

TEST_CASE("BTF: kernels whose types are there twice and agree are read as others") {
  for (const char* name :
       {"page", "folio", "address_space", "inode", "super_block", "zone", "mem_section", "buffer_head"}) {
    CAPTURE(name);
    Guest g({.types = with_copy(linux_6_12(), name, as_it_is)});
    const Seen seen = g.look();
    CHECK(seen.reason == "");
    CHECK(seen.at(g.small[0]) == PageClass::clean_cache);
  }
}

TEST_CASE("R7: a guard is not told to be absent by copies that differ") {
  const auto clean = [](const KernelTypes& types) {
    Guest g({.types = types});
    const Seen seen = g.look();
    return seen.introspected && seen.at(g.small[0]) == PageClass::clean_cache;
  };
  CHECK(clean(with_copy(linux_6_12(), "address_space", as_it_is)));
  const std::pair<const char*, Field> guards[] = {{"address_space", {"i_pages_delete_seqcnt", 184, {4}}},
                                                  {"folio", {"_nr_pages_mapped", 88, {4}}},
                                                  {"folio", {"_folio_order", 90, {1}}},
                                                  {"page", {"compound_info", 8, {}}}};
  for (const auto& [type, field] : guards) {
    const std::string& name = field.name;
    CAPTURE(name);
    const Field added = field;
    const bool is_guard = name != "_nr_pages_mapped";
    CHECK(clean(with_copy(linux_6_12(), type, [&](Structure& s) { s.fields.push_back(added); })) != is_guard);
  }
  CHECK_FALSE(clean(with_copy(linux_6_12(), "address_space", [](Structure& s) {
    std::erase_if(s.fields, [](const Field& f) { return f.name == "nr_thps"; });
  })));
  CHECK_FALSE(clean(with_copy(linux_6_12(), "folio", [](Structure& s) {
    std::erase_if(s.fields, [](const Field& f) { return f.name == "_large_mapcount"; });
  })));
}

TEST_CASE("R7: a flag whose place differs between two enums counts neither as clear nor as known") {
  KernelTypes types = linux_6_12();
  types.enum_copies.push_back({"pageflags", types.enums["pageflags"]});
  CHECK(Guest({.types = types}).look().introspected);
  types.enum_copies.back().second["PG_hwpoison"] = 22;
  const Seen seen = Guest({.types = types}).look();
  CHECK_FALSE(seen.introspected);
  CHECK(seen.reason.find("PG_hwpoison") != std::string::npos);
}

TEST_CASE(
    "R12: a btrfs whose types are there four times and agree is expendable; one with a guard in one of them "
    "is not") {
  const auto why = [](const std::function<void(Structure&)>& change) {
    KernelTypes types = linux_6_12();
    for (int i = 0; i < 3; i++) types.copy("btrfs_inode").copy("btrfs_root").copy("extent_io_tree");
    change(types.copies.back().second);
    PrivateGuest g(types);
    const File file = g.make_private_file("btrfs", 12);
    const uint64_t pfn = g.add_marked(file, 64, 0).pfn;
    const Seen seen = g.look();
    CHECK(expendable(seen.at(pfn)) == is_recipe(seen.why(pfn)));
    return seen.why(pfn);
  };
  CHECK(why(as_it_is) == Reason::btrfs_mark);
  CHECK(why([](Structure& s) {
          s.fields.push_back({"track_uptodate", 20, {1}});
        }) == Reason::file_system_types);
}

TEST_CASE("R12: without the type that could hold the guard, a btrfs is not believed to have none") {
  KernelTypes types = linux_6_12();
  types.structs.erase("extent_io_tree");
  PrivateGuest g(types);
  const File file = g.make_private_file("btrfs", 12);
  const uint64_t pfn = g.add_marked(file, 64, 0).pfn;
  CHECK(g.look().why(pfn) == Reason::file_system_types);
}
