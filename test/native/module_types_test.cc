// SPDX-License-Identifier: Apache-2.0
// R3 for the types of modules: found where the kernel shows them, believed only when they continue the
// kernel's own.
#include <doctest/doctest.h>

#include <functional>

#include "guest/modules.hh"

using namespace pars;
using namespace pars::test;

namespace {

using Break = std::function<void(ModuleGuest&)>;

void check_breaks(const std::map<std::string, Break>& breaks, bool believed = false) {
  for (const auto& [release, types] : kFolioKernels)
    for (const auto& [key, broken] : breaks) {
      const std::string &kernel = release, &name = key;
      CAPTURE(kernel);
      CAPTURE(name);
      ModuleGuest g(types);
      const PrivateFolio folio = g.add_marked(g.file, 64, 0);
      broken(g);
      const Seen seen = g.look();
      REQUIRE(seen.reason == "");
      CHECK(seen.why(folio.pfn) == (believed ? Reason::btrfs_mark : Reason::file_system_types));
      CHECK(expendable(seen.at(folio.pfn)) == believed);
      CHECK(seen.at(g.small[0]) == PageClass::clean_cache);
    }
  CHECK(std::string(facts_of(Reason::file_system_types).rule) == "R12");
}

Break number(const char* field, uint64_t add, bool of_base = false) {
  return [=](ModuleGuest& g) {
    const uint64_t at = of_base ? g.base : g.btf;
    g.set("btf", at, field, g.get("btf", at, field) + add);
  };
}

}  // namespace

TEST_CASE("R3: the types of a module are those that the kernel shows of it") {
  check_breaks({{"as it is", [](ModuleGuest&) {}}}, true);
}

TEST_CASE("R3: a module's BTF that does not continue the kernel's is not believed") {
  check_breaks({
      {"other first type", number("start_id", 1)},
      {"other first name", number("start_str_off", 1)},
      {"other base", number("base_btf", 8)},
      {"no base", [](ModuleGuest& g) { g.set("btf", g.btf, "base_btf", 0); }},
      {"a program's", [](ModuleGuest& g) { g.set("btf", g.btf, "kernel_btf", 0); }},
      {"the base is elsewhere", number("data", 4, true)},
      {"the base has more types", number("nr_types", 1, true)},
      {"the base has a base", [](ModuleGuest& g) { g.set("btf", g.base, "base_btf", g.base); }},
      {"a base of user memory", [](ModuleGuest& g) { g.set("btf", g.btf, "base_btf", 0x7f0000001000); }},
  });
}

TEST_CASE("R3: a module's BTF that is not whole is not believed") {
  check_breaks({
      {"no data", [](ModuleGuest& g) { g.set("btf", g.btf, "data", 0); }},
      {"data elsewhere", number("data", 4)},
      {"longer", number("data_size", 4)},
      {"no magic", [](ModuleGuest& g) { g.set_word(g.blob, 0); }},
      {"the attribute's length is another",
       [](ModuleGuest& g) { g.set("bin_attribute", g.attribute, "size", 100); }},
      {"a type of no kind", [](ModuleGuest& g) { g.set_word(g.blob + 24, ~0ull); }},
  });
}

TEST_CASE("R3: a module that is not where the kernel shows modules is not believed") {
  check_breaks({
      {"owned by nothing",
       [](ModuleGuest& g) {
         g.set("file_system_type", g.get("super_block", g.file.super_block, "s_type"), "owner", 0x1000);
       }},
      {"not its own", [](ModuleGuest& g) { g.set_module_kobject("mod", g.btf); }},
      {"without a name", [](ModuleGuest& g) { g.set_word(g.module + g.types.offset("module", "name"), 0); }},
      {"of another name",
       [](ModuleGuest& g) {
         g.memory.write(g.gpa(g.module) + g.types.offset("module", "name"), "xfs\0\0", 6);
       }},
      {"its directory has another name", [](ModuleGuest& g) { g.rename(g.own_node, "other"); }},
      {"not among modules", [](ModuleGuest& g) { g.rename(g.sys_module, "class"); }},
      {"the tree goes on above",
       [](ModuleGuest& g) { g.set("kernfs_node", g.sys, g.parent_field(), g.sys_kernel); }},
      {"no kernel", [](ModuleGuest& g) { g.rename(g.sys_kernel, "firmware"); }},
      {"no btf", [](ModuleGuest& g) { g.rename(g.sys_btf, "mm"); }},
      {"not shown", [](ModuleGuest& g) { g.rename(g.shown_node, "zfs"); }},
      {"shown by another tree",
       [](ModuleGuest& g) { g.set("kernfs_node", g.shown_node, g.parent_field(), g.sys_module); }},
      {"no attribute", [](ModuleGuest& g) { g.set("kernfs_node", g.shown_node, "priv", 0); }},
      {"an attribute of another name", [](ModuleGuest& g) { g.set_attribute_name(g.text("btrfs")); }},
      {"a directory in circles",
       [](ModuleGuest& g) {
         g.rename(g.shown_node, "zfs");
         for (const char* side : {"rb_left", "rb_right"})
           g.set("rb_node", g.link_of_node(g.shown_node), side, g.word(g.children_of(g.sys_btf)));
       }},
  });
}

TEST_CASE("R3: a kernel whose BTF lacks what leads to its modules' has a critical btrfs") {
  const std::pair<const char*, const char*> fields[] = {
      {"btf", "data"},           {"btf", "start_id"},           {"btf", "base_btf"},
      {"kernfs_node", "priv"},   {"kernfs_node", "rb"},         {"module", "mkobj"},
      {"bin_attribute", "size"}, {"file_system_type", "owner"}, {"rb_node", "rb_left"}};
  for (const auto& [structure, field] : fields) {
    ModuleGuest g(linux_6_12());
    KernelTypes less = linux_6_12();
    less.drop(structure, field);
    g.write(g.kernel_btf_va(), BtfWriter(less).blob());
    const PrivateFolio folio = g.add_marked(g.file, 64, 0);
    CHECK(g.look().why(folio.pfn) == Reason::file_system_types);
  }
}

TEST_CASE("R3: a kernel built without modules has the types of its file systems in its own BTF") {
  for (const auto& [release, types] : kFolioKernels)
    for (const bool owned : {false, true}) {
      const std::string& kernel = release;
      CAPTURE(kernel);
      CAPTURE(owned);
      KernelTypes less = types;
      for (const char* name : {"module", "module_kobject", "btf", "bin_attribute"}) less.structs.erase(name);
      PrivateGuest g(less);
      const File btrfs = g.make_private_file("btrfs", 12), xfs = g.make_private_file("xfs", 12);
      if (owned)  // then it is a module's, whose types nothing leads to
        for (const File& file : {btrfs, xfs})
          g.set("file_system_type", g.get("super_block", file.super_block, "s_type"), "owner", g.page_va(1));
      const uint64_t marked = g.add_marked(btrfs, 64, 0).pfn, plain = g.add_folio(xfs, 64);
      const Seen seen = g.look();
      REQUIRE(seen.reason == "");
      CHECK(seen.why(marked) == (owned ? Reason::file_system_types : Reason::btrfs_mark));
      CHECK(seen.why(plain) == (owned ? Reason::file_system_types : Reason::plain));
    }
}
