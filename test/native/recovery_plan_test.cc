// SPDX-License-Identifier: Apache-2.0
// Where a recovery may write: into payload of critical pages beyond the image's head, and nowhere else.
#include <doctest/doctest.h>

#include "core/pages/recovery_plan.hh"
#include "guest/guest.hh"

using namespace pars;
using namespace pars::test;

namespace {

/// The planner on a guest's memory as it is now, its page array read beforehand.
struct Planning {
  explicit Planning(Guest& g, uint64_t head_end = kPage)
      : ram(g.memory.image(), g.memory.stream(), g.memory.segments()),
        memory(ram, frame::kSwapper * kPage, false),
        btf(std::move(*Btf::parse(BtfWriter(g.types).blob()))),
        info(*Vmcoreinfo::parse({g.memory.page(frame::kNote), kPage})),
        layout(*with_note(*layout_of_types(btf), info)),
        array(*PageArray::find(memory, info, layout)),
        planner(memory, array, layout.private_state, head_end),
        classifications(array.end(), {PageClass::kernel, Reason::kernel_use}) {}

  Reason plan(uint64_t pfn) {
    writes.clear();
    return planner.plan(pfn, 0, CachedFile{}, classifications, writes);
  }
  uint64_t home(uint64_t pfn) const { return array.home(pfn) / kPage; }

  GuestRam ram;
  KernelMemory memory;
  Btf btf;
  Vmcoreinfo info;
  KernelLayout layout;
  PageArray array;
  RecoveryPlanner planner;
  std::vector<Classification> classifications;
  std::vector<RecoveryWrite> writes;
};

}  // namespace

TEST_CASE("R8: a recovery is written into payload of a critical page") {
  Guest g;
  Planning p(g);
  CHECK(p.plan(g.small[0]) == Reason::plain);
  REQUIRE(p.writes.size() == 1);
  CHECK(p.writes[0].image_offset ==
        g.memory.location(p.home(g.small[0])) + g.small[0] % 64 * 64 + g.types.offset("page", "flags"));
  CHECK(p.writes[0].mask == g.types.bit("pageflags", "PG_uptodate"));
}

TEST_CASE("R8: a recovery into a page that could be lost itself is none") {
  Guest g;
  Planning p(g);
  for (PageClass c : {PageClass::free_page, PageClass::clean_cache}) {
    p.classifications[p.home(g.small[0])] = {c, Reason::plain};
    CHECK(p.plan(g.small[0]) == Reason::recovery_target);
    CHECK(p.writes.empty());
  }
  p.classifications.resize(p.home(g.small[0]));
  CHECK(p.plan(g.small[0]) == Reason::recovery_target);
}

TEST_CASE("R6: a recovery into a page whose place in guest memory is not proven is none") {
  Guest g;
  Planning p(g);
  p.classifications[p.home(g.small[0])] = {PageClass::kernel, Reason::segment_unproven};
  CHECK(p.plan(g.small[0]) == Reason::recovery_target);
  CHECK(p.writes.empty());
}

TEST_CASE("R8: a recovery into the image's head, or into a page that is stored as one word, is none") {
  Guest g;
  const uint64_t at = g.memory.location(Planning(g).home(g.small[0]));
  CHECK(Planning(g, at).plan(g.small[0]) == Reason::plain);
  CHECK(Planning(g, at + 1).plan(g.small[0]) == Reason::recovery_target);
  const uint64_t home = Planning(g).home(g.small[0]);
  for (size_t i = 0; i < kPage; i += 8)
    g.memory.put(home * kPage + i, g.types.bit("pageflags", "PG_uptodate"), 8);
  CHECK_FALSE(is_recipe(Planning(g).plan(g.small[0])));  // its private word is that word, too
}

TEST_CASE("R8: a recovery that would clear what is not set is none") {
  Guest g;
  g.flag(g.small[0], "PG_uptodate", false);
  CHECK(Planning(g).plan(g.small[0]) == Reason::recovery_target);
}
