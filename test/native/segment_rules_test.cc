// SPDX-License-Identifier: Apache-2.0
// R6 on guests made by hand: which segments of their memory prove that they are where the layout says.
#include <doctest/doctest.h>

#include <functional>

#include "guest/private.hh"

using namespace pars;
using namespace pars::test;

namespace {

constexpr uint64_t kUpper = 4 * kGiB / kPage;  // first frame above the PCI hole
constexpr uint64_t kPagesApart = 64;           // frames whose struct pages lie in pages of their own

void check_refused(Guest& g, std::string_view words) {
  const Seen seen = g.look();
  CHECK_FALSE(seen.introspected);
  CHECK(seen.expendable_pages() == 0);
  CHECK_MESSAGE(seen.reason.find(words) != std::string::npos, seen.reason);
}

void add_blocks(Guest& g, uint64_t first, uint64_t blocks, uint64_t apart = kPagesApart) {
  for (uint64_t i = 0; i < blocks; i++) g.add_free(first + i * apart, 0);
}

/// A folio of the guest's that may be lost has a recovery, and no other has.
void check_recoveries(const Seen& seen, const Guest& g, std::vector<uint64_t> folios = {}) {
  folios.insert(folios.end(), g.small.begin(), g.small.end());
  for (auto [order, pfn] : g.large) folios.push_back(pfn);
  const auto is_clean = [&](uint64_t pfn) { return seen.at(pfn) == PageClass::clean_cache; };
  CHECK(seen.recovery.folios.size() == size_t(std::count_if(folios.begin(), folios.end(), is_clean)));
}

/// 5 GiB on both sides of the PCI hole; the upper part holds its own struct pages or the lower one all of
/// them.
struct Halved : Guest {
  explicit Halved(bool upper_proves)
      : Guest({.cells = {5 * kGiB}, .local_struct_pages = upper_proves, .spread = !upper_proves}) {
    add_blocks(*this, upper_proves ? kUpper + 32768 : 2048, 20);
    if (upper_proves) add_free(2048, 0);
    else add_free(kUpper + 64, 0);
  }
  void set_section(uint64_t gpa, bool present) {
    const uint64_t at = sections + (gpa >> kSectionBits) * types.bytes("mem_section");
    set("mem_section", at, "section_mem_map", present ? kVmemmap | 0xf : 0);
  }
};

}  // namespace

TEST_CASE("R6: a segment proves itself by structures in sixteen of its pages, or is critical as a whole") {
  for (uint64_t blocks : {15, 16}) {
    CAPTURE(blocks);
    Guest g({.cells = {16 * kMiB, 16 * kMiB}, .local_struct_pages = true});
    add_blocks(g, 2048, 20);  // what proves the first
    add_blocks(g, 5056, blocks);
    const Seen seen = g.look();
    REQUIRE(seen.reason == "");
    CHECK(seen.at(2048) == PageClass::free_page);
    CHECK(seen.at(5056) == (blocks == 16 ? PageClass::free_page : PageClass::kernel));
    CHECK(seen.names("R6") == (blocks == 15));
  }
}

TEST_CASE("R6: a page proves its segment once, however many structures it holds") {
  Guest g({.cells = {16 * kMiB, 16 * kMiB}, .local_struct_pages = true});
  add_blocks(g, 2048, 20);
  add_blocks(g, 6000, 40, 2);  // their struct pages lie in two pages
  const Seen seen = g.look();
  REQUIRE(seen.reason == "");
  CHECK(seen.at(2048) == PageClass::free_page);
  CHECK(seen.at(6000) == PageClass::kernel);
  CHECK(seen.why(6000) == Reason::segment_unproven);
}

TEST_CASE("R6: no recovery is planned for a folio in a segment that is not proven") {
  Guest g({.cells = {16 * kMiB, 16 * kMiB}, .local_struct_pages = true});
  g.take(2048), g.take(64);  // the rest of the first segment, and the struct pages of the second
  const uint64_t beyond = g.add_folio(g.ext4, 1000);
  REQUIRE(beyond >= 4096);
  add_blocks(g, 2048, 20);
  Seen seen = g.look();
  REQUIRE(seen.reason == "");
  CHECK(seen.why(beyond) == Reason::segment_unproven);
  check_recoveries(seen, g, {beyond});
  add_blocks(g, 5056, 16);
  seen = g.look();
  CHECK(seen.at(beyond) == PageClass::clean_cache);
  check_recoveries(seen, g, {beyond});
}

TEST_CASE("R6: a recovery that would write into a segment that is not proven is none") {
  PrivateGuest g(linux_6_12(), {16 * kMiB, 16 * kMiB});
  add_blocks(g, 2048, 20);
  const File file = g.make_private_file("ext4", 12);
  const uint64_t near = g.add_buffered(file, 1, 0).pfn;
  PrivateFolio far = g.add_buffered(file, 2, 0);
  const uint64_t frame = 5000;  // of the second segment
  g.memory.fill(frame);
  const std::vector<uint8_t> head(g.memory.page(far.state % kGiB / kPage) + far.state % kPage,
                                  g.memory.page(far.state % kGiB / kPage) + far.state % kPage + 104);
  g.memory.write(frame * kPage, head.data(), head.size());
  g.set_word(kDirectMap + frame * kPage + g.types.offset("buffer_head", "b_this_page"),
             kDirectMap + frame * kPage);
  g.set_page(far.pfn, "private", kDirectMap + frame * kPage);
  Seen seen = g.look();
  REQUIRE(seen.reason == "");
  CHECK(seen.why(near) == Reason::buffer_heads);
  CHECK(seen.why(far.pfn) == Reason::recovery_target);
  add_blocks(g, 5056, 16);
  seen = g.look();
  CHECK(seen.why(far.pfn) == Reason::buffer_heads);
}

TEST_CASE("R6: blocks that change places are found out") {
  Guest g({.cells = {16 * kMiB, 16 * kMiB, 16 * kMiB}, .local_struct_pages = true});
  for (uint64_t start : {2048, 6016, 10048}) add_blocks(g, start, 20);
  REQUIRE(g.look().expendable_pages() > 60);
  auto& blocks = g.memory.stream().blocks;
  SUBCASE("two upper nodes") {
    std::swap(blocks[1].name, blocks[2].name);
    check_refused(g, "(R4)");
  }
  SUBCASE("the lowest node") {
    std::swap(blocks[0].name, blocks[1].name);
    check_refused(g, "");
  }
}

TEST_CASE("R6: one side of the PCI hole proves the other when the kernel's sections agree on the hole") {
  for (bool upper_proves : {false, true}) {
    CAPTURE(upper_proves);
    Halved g(upper_proves);
    const Seen seen = g.look();
    REQUIRE(seen.reason == "");
    CHECK(seen.at(2048) == PageClass::free_page);
    CHECK(seen.at(kUpper + (upper_proves ? 32768 : 64)) == PageClass::free_page);
    CHECK(seen.at(g.small[0]) == PageClass::clean_cache);
    CHECK(seen.count(Reason::segment_unproven) == 0);
    check_recoveries(seen, g);
  }
}

TEST_CASE("R6: sections that do not end where the layout has the PCI hole prove nothing of its other side") {
  constexpr uint64_t kSection = 1ull << kSectionBits;
  const std::map<std::string, std::function<void(Halved&)>> breaks = {
      {"one more below the hole", [](Halved& g) { g.set_section(3 * kGiB, true); }},
      {"one more within the hole", [](Halved& g) { g.set_section(4 * kGiB - kSection, true); }},
      {"one fewer below the hole", [](Halved& g) { g.set_section(3 * kGiB - kSection, false); }},
      {"one fewer at the end", [](Halved& g) { g.set_section(6 * kGiB - kSection, false); }},
      {"one more at the end", [](Halved& g) { g.set_section(6 * kGiB, true); }},
      {"one far above", [](Halved& g) { g.set_section(30 * kGiB, true); }},
      {"one moved over the hole",
       [](Halved& g) { g.set_section(3 * kGiB - kSection, false), g.set_section(6 * kGiB, true); }},
  };
  for (bool upper_proves : {false, true})
    for (const auto& [key, broken] : breaks) {
      const auto& name = key;  // a lambda of clang 14 cannot take a structured binding
      CAPTURE(name);
      CAPTURE(upper_proves);
      Halved g(upper_proves);
      broken(g);
      const Seen seen = g.look();
      REQUIRE(seen.reason == "");
      CHECK(expendable(seen.at(2048)) != upper_proves);
      CHECK(expendable(seen.at(g.small[0])) != upper_proves);
      CHECK(expendable(seen.at(kUpper + (upper_proves ? 32768 : 64))) == upper_proves);
      CHECK(seen.names("R6"));
      check_recoveries(seen, g);
    }
}

TEST_CASE("R6: a page without a struct page is critical") {
  Guest g;
  const uint64_t gone = g.small[20] & ~63ull;
  g.memory.put(g.tables.entry(g.page_va(gone), 1), 0, 8);
  const Seen seen = g.look();
  for (uint64_t pfn = gone; pfn < gone + 64; pfn++) CHECK_FALSE(expendable(seen.at(pfn)));
}

TEST_CASE("R6: a DIMM that proves itself is read, one that does not is critical, and the rest is read") {
  for (uint64_t blocks : {0, 15, 16}) {
    CAPTURE(blocks);
    Guest g({.local_struct_pages = true, .dimm = 8 * kMiB});
    add_blocks(g, kUpper + 128, blocks);
    const Seen seen = g.look();
    REQUIRE(seen.reason == "");
    CHECK(seen.at(g.small[0]) == PageClass::clean_cache);
    CHECK(seen.at(Guest::free_block(4)) == PageClass::free_page);
    if (blocks > 0) CHECK(expendable(seen.at(kUpper + 128)) == (blocks == 16));
    CHECK(seen.count(Reason::segment_unproven) == (blocks == 16 ? 0 : 8 * kMiB / kPage));
  }
}

TEST_CASE("R6: a DIMM that the XML does not place is left out; the rest is read") {
  Guest g({.local_struct_pages = true, .dimm = 8 * kMiB});
  const uint64_t dimm = g.zones.back().va;
  g.set("zone", dimm, "spanned_pages", 0);  // the kernel has none of it online
  g.domain.memory_devices[0].base.reset();
  const Seen seen = g.look();
  REQUIRE(seen.reason == "");
  CHECK(seen.at(g.small[0]) == PageClass::clean_cache);
  CHECK(seen.count(Reason::not_guest_ram) == (kMiB + 8 * kMiB) / kPage);
}
