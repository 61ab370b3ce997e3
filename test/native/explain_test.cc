// SPDX-License-Identifier: Apache-2.0
// Pages explained, the largest files, and the map of memory, on a guest made by hand.
#include <doctest/doctest.h>

#include "core/pages/explain.hh"
#include "core/pages/memory_map.hh"
#include "guest/guest.hh"

using namespace pars;
using namespace pars::test;

namespace {

/// A kernel whose BTF also tells names.
KernelTypes named_kernel() {
  KernelTypes k = linux_6_12();
  auto& inode = k.structs["inode"].fields;
  std::erase_if(inode, [](const auto& field) { return field.name == "i_ino" || field.name == "i_dentry"; });
  inode.push_back({"i_ino", 64}), inode.push_back({"i_dentry", 88, {0, "hlist_head"}});
  k.structs["hlist_head"] = {8, {{"first", 0}}};
  k.structs["qstr"] = {16, {{"hash_len", 0}, {"name", 8}}};
  k.structs["dentry_union"] = {16, {{"d_alias", 0}}};
  k.structs["dentry"] = {192,
                         {{"d_parent", 24}, {"d_name", 32, {0, "qstr"}}, {"d_u", 160, {0, "dentry_union"}}}};
  k.structs["super_block"].fields.push_back({"s_id", 600, {1, "", 32}});
  k.structs["super_block"].fields.push_back({"s_root", 96});
  return k;
}

uint64_t add_dentry(Guest& g, const std::string& name, uint64_t parent) {
  const uint64_t dentry = g.make("dentry");
  g.set("dentry", dentry, "d_parent", parent ? parent : dentry);
  g.set_word(dentry + 32 + 8, g.text(name));
  return dentry;
}

void call_it(Guest& g, const File& file, uint64_t inode_number, uint64_t dentry) {
  g.set("inode", file.inode, "i_ino", inode_number);
  g.set_word(file.inode + 88, dentry + 160);
}

/// What a observer saw, and how often it was asked.
struct Observed {
  std::vector<PageExplanation> pages;
  std::vector<FileShare> files;
  int times = 0;
};

Observed observer(Guest& g, uint64_t first, uint64_t pages) {
  Observed out;
  const InspectOptions options{[&](const ReadingView& view) {
                                 out.pages = explain_pages(view, first, pages);
                                 out.files = largest_files(view, 8);
                                 out.times++;
                               },
                               {}};
  const Seen seen = g.look(kPage, options);
  REQUIRE(seen.reason == "");
  return out;
}

}  // namespace

TEST_CASE("a file is named where dentries are linked without a union of a name, as since Linux 7.2") {
  KernelTypes types = named_kernel();
  types.drop("dentry", "d_u").add("dentry", {"d_alias", 160, {0, "dentry_union"}});
  Guest g({.types = types});
  call_it(g, g.ext4, 77, add_dentry(g, "data.bin", add_dentry(g, "/", 0)));
  const Observed w = observer(g, g.small[0], 1);
  REQUIRE(w.pages[0].file.has_value());
  CHECK(w.pages[0].file->path == "/data.bin");
}

TEST_CASE("a page of the cache is explained with its flags, its folio and its file's path") {
  Guest g({.types = named_kernel()});
  const uint64_t root = add_dentry(g, "/", 0), directory = add_dentry(g, "srv", root);
  call_it(g, g.ext4, 77, add_dentry(g, "data.bin", directory));
  const Observed w = observer(g, g.small[0], 1);
  CHECK(w.times == 1);
  REQUIRE(w.pages.size() == 1);
  const PageExplanation& page = w.pages[0];
  CHECK(page.has_struct_page);
  CHECK(page.refcount == 1);
  CHECK(page.head == g.small[0]);
  const std::vector<std::string> names(page.flag_names.begin(), page.flag_names.end());
  CHECK(std::find(names.begin(), names.end(), "uptodate") != names.end());
  CHECK(std::find(names.begin(), names.end(), "lru") != names.end());
  CHECK(std::find(names.begin(), names.end(), "dirty") == names.end());
  REQUIRE(page.file);
  CHECK(page.file->inode == 77);
  CHECK(page.file->file_system == "ext4");
  CHECK(page.file->path == "/srv/data.bin");
}

TEST_CASE(
    "a tail is explained by its folio's head; an anonymous page has no file; a frame without a struct page "
    "has nothing") {
  Guest g({.types = named_kernel()});
  const uint64_t head = g.large.at(4);
  const Observed w = observer(g, head + 3, 1);
  CHECK(w.pages[0].head == head);
  CHECK(w.pages[0].index == (1ull << 6) + 3);
  CHECK(w.pages[0].refcount == 16);
  REQUIRE(w.pages[0].file);
  CHECK(w.pages[0].file->file_system == "xfs");
  CHECK(w.pages[0].file->path == "");
  CHECK_FALSE(observer(g, g.anon, 1).pages[0].file);
  CHECK_FALSE(observer(g, 1ull << 40, 1).pages[0].has_struct_page);
}

TEST_CASE("the largest files come first, with all their clean pages") {
  Guest g({.types = named_kernel()});
  uint64_t large = 0;
  for (auto [order, pfn] : g.large) large += 1ull << order;
  const Observed w = observer(g, 0, 0);
  REQUIRE(w.files.size() == 2);
  CHECK(w.files[0].clean_pages == large);
  CHECK(w.files[0].file.file_system == "xfs");
  CHECK(w.files[1].clean_pages == g.small.size());
}

TEST_CASE("dentries that go in a circle, or nowhere, give no name and end") {
  Guest g({.types = named_kernel()});
  const uint64_t a = add_dentry(g, "a", 0), b = add_dentry(g, "b", a);
  SUBCASE("a circle") { g.set("dentry", a, "d_parent", b); }
  SUBCASE("nowhere") { g.set("dentry", a, "d_parent", 0xffff800000001000); }
  SUBCASE("no parent") { g.set("dentry", b, "d_parent", 0); }
  call_it(g, g.ext4, 5, b);
  const Observed w = observer(g, g.small[0], 1);
  REQUIRE(w.pages[0].file);
  CHECK(w.pages[0].file->path == "");
  CHECK(w.pages[0].file->inode == 5);
}

TEST_CASE("the map covers every page once, in order, and shows what is there") {
  Guest g({.types = named_kernel()});
  const Seen seen = g.look();
  const MemoryMap map = draw_memory_map(g.domain, g.memory.stream(), seen);
  CHECK(map.cell_pages == 1);
  REQUIRE(map.segments.size() == seen.segments.size());
  for (size_t i = 0; i < map.segments.size(); i++) {
    uint64_t pfn = map.segments[i].gpa / kPage;
    for (const MapRun& run : map.segments[i].runs)
      for (uint64_t cell = 0; cell < run.cells; cell++, pfn++)
        CHECK_MESSAGE(run.page_class == seen.at(pfn), pfn);
    CHECK(pfn == (map.segments[i].gpa + map.segments[i].bytes) / kPage);
  }
}
