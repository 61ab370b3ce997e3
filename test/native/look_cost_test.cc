// SPDX-License-Identifier: Apache-2.0
// What a look inside costs when the guest's root makes it as slow as can be: types that take long to find
// anything in, and thousands of kernel notes that nearly pass. A process can plant such notes, too, so they
// must not keep the kernel's own from being believed; nothing but the kernel's root can write its types.
#include <doctest/doctest.h>

#include <ctime>

#include "core/kernel/btf.hh"
#include "guest/guest.hh"

using namespace pars;
using namespace pars::test;

namespace {

/// Of processor time: many times what it takes, for a sanitizer and a busy machine, and a fraction of what it
/// took when each note had the types searched again.
constexpr double kBound = 4;

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

Seen look_in_time(Guest& g) {
  const double begin = processor_seconds();
  Seen seen = g.look();
  const double took = processor_seconds() - begin;
  MESSAGE("took ", took, " s");
  CHECK(took < kBound);
  return seen;
}

/// Each struct begins with `twigs` anonymous structs, of some 2000 members each, that hold nothing asked for.
KernelTypes slow_types(size_t twigs) {
  KernelTypes types = linux_6_12();
  const std::vector<Field> leaves(32, {"rh_reserved", 0}), branches(60, {"", 0, {0, "leaf"}});
  for (auto& [name, structure] : types.structs)
    structure.fields.insert(structure.fields.begin(), twigs, {"", 0, {0, "twig"}});
  types.structs["leaf"] = {8, leaves};
  types.structs["twig"] = {8, branches};
  return types;
}

void write_types(Guest& g, const KernelTypes& types) {
  const std::vector<uint8_t> blob = BtfWriter(types).blob();
  REQUIRE(blob.size() < (frame::kRegions - g.btf_frame) * kPage);
  g.memory.write(g.btf_frame * kPage + 8, blob.data(), blob.size());
}

/// Notes that agree with the kernel in all but what comes last, in frames from `first` on.
void plant_notes(Guest& g, uint64_t first, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    Kernel::Note note = g.note;
    for (auto& line : note)
      if (line.first == "SYMBOL(mem_section)") line.second = Kernel::hex(kDirectMap + 0x1000000 + i * 0x1000);
    g.write_note(first + i, note);
  }
}

}  // namespace

TEST_CASE("cost: thousands of notes of a kernel whose types are slow to search (row 3)") {
  Guest g({.cells = {32 * kMiB}});
  for (uint64_t i = 0; i < 20; i++) g.add_free(3000 + 2 * i, 0);
  const uint64_t honest = g.look().expendable_pages();
  CHECK(honest >= 20);
  write_types(g, slow_types(5));
  CHECK(look_in_time(g).expendable_pages() == honest);
  const uint64_t first = g.take(4096);
  for (uint64_t notes : {48, 4000}) {
    CAPTURE(notes);
    plant_notes(g, first, notes);
    CHECK(look_in_time(g).expendable_pages() == honest);
  }
}

TEST_CASE("cost: types that are as slow to search as can be (row 3)") {
  Guest g({.cells = {32 * kMiB}});
  write_types(g, slow_types(57));
  plant_notes(g, g.take(64), 48);
  CHECK(look_in_time(g).pages(PageClass::clean_cache) == 0);
}

TEST_CASE("cost: a kernel image full of words that look like its page array's (row 3)") {
  Guest g;
  const uint64_t pages = 2 * kMiB / kPage, first = g.take(pages);
  for (uint64_t page = 0; page < pages; page++)
    for (uint64_t i = 0; i < kPage / 8; i++)
      g.memory.put((first + page) * kPage + 8 * i, 0xfffffd0000000000 + i * kGiB, 8);
  for (uint64_t va = kImageMap; va < kImageMap + kGiB; va += 2 * kMiB)
    if (va != kImageVa) g.tables.map(va, first * kPage, 0, 2);
  const Seen seen = look_in_time(g);
  CHECK_FALSE(seen.introspected);
  CHECK(seen.expendable_pages() == 0);
}
