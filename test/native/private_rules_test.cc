// SPDX-License-Identifier: Apache-2.0
// R8 for folios with private state: a clean one is lost by its recipe, and one thing wrong with its state
// makes it critical.
#include <doctest/doctest.h>

#include "guest/private_checks.hh"

using namespace pars;
using namespace pars::test;

TEST_CASE("R8: a folio with idle buffer heads is lost with BH_Uptodate of each") {
  for (const auto& [key, types] : kKernels)
    for (const Recipe& recipe : {kSmallBlocks, kOneBlock, kLargeBuffered}) {
      const std::string& kernel = key;
      CAPTURE(kernel);
      if (recipe.order > 0 && !types.structs.contains("folio")) continue;
      Pair p(types, recipe);
      for (const char* name : {"BH_Req", "BH_Boundary"})
        p.guest.set_buffer(
            p.victim, 0, "b_state",
            p.guest.get("buffer_head", p.victim.buffers[0], "b_state") | types.bit("bh_state_bits", name));
      const Seen seen = p.guest.look();
      for (uint64_t i = 0; i < 1ull << recipe.order; i++)
        CHECK(seen.at(p.victim.pfn + i) == PageClass::clean_cache);
      CHECK(seen.why(p.victim.pfn) == Reason::buffer_heads);
      auto expected = uptodate_of(p.guest, p.victim);
      for (uint64_t b : p.victim.buffers)
        expected[p.guest.gpa(b)] = types.bit("bh_state_bits", "BH_Uptodate");
      CHECK(cleared(p.guest, seen, p.victim) == expected);
    }
}

TEST_CASE("R8: one buffer head that is not that of a clean, idle page makes the folio critical") {
  for (uint64_t nth : {0, 1, 3})
    check_breaks(kSmallBlocks, buffer_breaks(nth), Reason::private_busy, kKernels);
  check_breaks(kOneBlock, buffer_breaks(0));
  check_breaks(kLargeBuffered, buffer_breaks(15));
}

TEST_CASE("R8: a ring of buffer heads that is not exactly the folio's makes it critical") {
  check_breaks(kSmallBlocks, pointer_breaks(), Reason::private_busy, kKernels);
  const auto link = [](uint64_t from, uint64_t to) -> Break {
    return [=](PrivateGuest& g, PrivateFolio& f) { g.set_buffer(f, from, "b_this_page", f.buffers[to]); };
  };
  std::map<std::string, Break> breaks = {
      {"too short", link(2, 0)},
      {"never comes back", link(3, 1)},
      {"stands still", link(1, 1)},
      {"goes back and forth", link(2, 1)},
      {"skips one", link(0, 2)},
      {"ends", buffer(2, "b_this_page", 0)},
      {"leads astray", buffer(2, "b_this_page", 0xffff890000000000)},
      {"leads to a user's memory", buffer(2, "b_this_page", 0x7f0000001000)},
      {"begins elsewhere",
       [](PrivateGuest& g, PrivateFolio& f) { g.set_page(f.pfn, "private", f.buffers[1]); }},
      {"unaligned",
       [](PrivateGuest& g, PrivateFolio& f) { g.set_buffer(f, 2, "b_this_page", f.buffers[3] + 4); }},
      {"is another folio's",
       [](PrivateGuest& g, PrivateFolio& f) {
         const File other = g.make_private_file("ext4", 10);
         g.set_page(f.pfn, "private", g.add_buffered(other, 0, 0).state);
       }},
      {"is longer",
       [](PrivateGuest& g, PrivateFolio& f) {
         const uint64_t more = g.make("buffer_head");
         for (const auto& field : g.types.structs.at("buffer_head").fields)
           g.set("buffer_head", more, field.name, g.get("buffer_head", f.buffers[3], field.name));
         g.set_buffer(f, 3, "b_this_page", more);
       }},
      {"of other blocks",
       [](PrivateGuest& g, PrivateFolio& f) {
         const uint64_t data = g.get("buffer_head", f.buffers[1], "b_data");
         g.set_buffer(f, 1, "b_data", g.get("buffer_head", f.buffers[2], "b_data")),
             g.set_buffer(f, 2, "b_data", data);
       }},
  };
  check_breaks(kSmallBlocks, breaks);
}

TEST_CASE("R8: a folio with all its iomap blocks up to date is lost with their bits") {
  for (const auto& [key, types] : kFolioKernels)
    for (const Recipe& recipe : {kSmallIomap, kPairIomap, kLargeIomap}) {
      const std::string& kernel = key;
      CAPTURE(kernel);
      Pair p(types, recipe);
      if (kernel == "6.1")  // bitmap_fill fills whole words
        for (uint64_t i = p.victim.blocks(); i < 64; i++) p.guest.set_bit(p.victim, i, true);
      const Seen seen = p.guest.look();
      for (uint64_t i = 0; i < 1ull << recipe.order; i++)
        CHECK(seen.at(p.victim.pfn + i) == PageClass::clean_cache);
      CHECK(seen.why(p.victim.pfn) == Reason::iomap_blocks);
      auto expected = uptodate_of(p.guest, p.victim);
      for (uint64_t i = 0; i < p.victim.blocks(); i++)
        expected[p.guest.gpa(p.victim.state) + p.guest.bitmap_at() + i / 8] |= 1 << i % 8;
      CHECK(cleared(p.guest, seen, p.victim) == expected);
    }
}

TEST_CASE("R8: iomap state that is not that of a clean, idle folio makes it critical") {
  const auto field = [](const char* name) -> Break {
    return [=](PrivateGuest& g, PrivateFolio& f) {
      g.set(g.iomap_type(), f.state, g.types.has(g.iomap_type(), name) ? name : "uptodate_lock", 1);
    };
  };
  std::map<std::string, Break> breaks = pointer_breaks();
  breaks["a read is pending"] = field("read_bytes_pending"),
  breaks["a write is pending"] = field("write_bytes_pending"),
  breaks["its lock is held"] = field("state_lock");
  for (uint64_t bit : {0, 1, 2, 3})
    breaks["block " + std::to_string(bit) + " is not up to date"] = [=](PrivateGuest& g, PrivateFolio& f) {
      g.set_bit(f, bit, false);
    };
  for (uint64_t bit : {0, 1, 2, 3})
    breaks["block " + std::to_string(bit) + " is dirty"] = [=](PrivateGuest& g, PrivateFolio& f) {
      if (g.iomap_type() == "iomap_page")
        g.set_bit(f, 0, false);  // which has no dirty bits: broken otherwise
      else g.set_bit(f, 4 + bit, true);
    };
  check_breaks(kSmallIomap, breaks);
  std::map<std::string, Break> large;
  for (uint64_t bit : {0, 31, 63}) {
    large["block " + std::to_string(bit) + " is not up to date"] = [=](PrivateGuest& g, PrivateFolio& f) {
      g.set_bit(f, bit, false);
    };
    large["block " + std::to_string(bit) + " is dirty"] = [=](PrivateGuest& g, PrivateFolio& f) {
      if (g.iomap_type() == "iomap_page") g.set_bit(f, bit, false);
      else g.set_bit(f, 64 + bit, true);
    };
  }
  check_breaks(kLargeIomap, large);
}

TEST_CASE("R8: a folio of one block has no iomap state") {
  for (const auto& [key, types] : kFolioKernels) {
    Pair p(types, {"xfs", 12, 0, &PrivateGuest::add_iomap, Reason::iomap_blocks});
    CHECK(p.guest.look().why(p.victim.pfn) == Reason::private_busy);
  }
}

TEST_CASE("R8: private state is read as its own file system's, with blocks of a length that there is") {
  const auto block_bits = [](uint32_t bits) -> Break {
    return [=](PrivateGuest& g, PrivateFolio& f) {
      const File other = g.make_private_file("ext4", bits);
      g.set_page(f.pfn, "mapping", other.mapping);
      g.store(other.mapping, g.get_page(f.pfn, "index"), 0, g.page_va(f.pfn));
    };
  };
  check_breaks(kSmallBlocks,
               {{"of no bytes", block_bits(0)},
                {"of 256 bytes", block_bits(8)},
                {"of 128 KiB", block_bits(17)},
                {"of 2^255 bytes", block_bits(255)}},
               Reason::private_unknown);
  check_breaks(kSmallBlocks, {{"of 2 KiB", block_bits(11)}, {"of 64 KiB", block_bits(16)}});
  const auto of = [](const char* file_system) -> Break {
    return [=](PrivateGuest& g, PrivateFolio& f) {
      const File other = g.make_private_file(file_system, f.block_bits);
      g.set_page(f.pfn, "mapping", other.mapping);
      g.store(other.mapping, g.get_page(f.pfn, "index"), 0, g.page_va(f.pfn));
    };
  };
  check_breaks(kSmallBlocks, {{"squashfs has none", of("squashfs")}}, Reason::private_unknown);
  check_breaks(kSmallIomap, {{"squashfs has none", of("squashfs")}}, Reason::private_unknown);
  check_breaks(kSmallBlocks, {{"XFS has no buffer heads", of("xfs")}});
  check_breaks(kSmallIomap, {{"ext4 has no iomap", of("ext4")}});
}

TEST_CASE("R8: a kernel without folios has no private state with a recovery but buffer heads") {
  check_unknown(linux_5_10(), kSmallIomap, linux_5_10());
}

TEST_CASE("R8: private state is critical when BTF lacks a field or a bit that its recipe names") {
  for (const auto& [key, types] : kFolioKernels) {
    const std::string& kernel = key;
    CAPTURE(kernel);
    for (const char* bit : {"BH_Uptodate", "BH_Req", "BH_Mapped", "BH_Boundary"}) {
      KernelTypes less = types;
      check_unknown(types, kSmallBlocks, less.drop_bit("bh_state_bits", bit));
    }
    check_every_field(types, kSmallBlocks, "buffer_head", "b_blocknr b_bdev b_end_io");
    const std::string iomap = types.structs.contains("iomap_page") ? "iomap_page" : "iomap_folio_state";
    check_every_field(types, kSmallIomap, iomap, "");
    KernelTypes wide = types;  // a spinlock with its debugging words
    wide.drop("buffer_head", "b_uptodate_lock").add("buffer_head", {"b_uptodate_lock", 96, {8}});
    check_unknown(types, kSmallBlocks, wide);
  }
}

TEST_CASE("R8: private state in memory that could be lost itself is no target") {
  for (const auto& [key, types] : kFolioKernels) {
    Pair p(types, kOneBlock);
    const uint64_t page = p.guest.add_folio(p.guest.ext4, 3000), buffer = kDirectMap + page * kPage + 512;
    for (const auto& field : types.structs.at("buffer_head").fields)
      p.guest.set("buffer_head", buffer, field.name,
                  p.guest.get("buffer_head", p.victim.buffers[0], field.name));
    p.guest.set("buffer_head", buffer, "b_this_page", buffer);
    p.guest.set_page(p.victim.pfn, "private", buffer);
    const Seen seen = p.guest.look();
    CHECK(seen.why(p.victim.pfn) == Reason::recovery_target);
    CHECK(seen.at(p.victim.pfn) == PageClass::other_cache);
    CHECK(seen.at(page) == PageClass::clean_cache);
    CHECK(cleared(p.guest, seen, p.victim).empty());
  }
}
