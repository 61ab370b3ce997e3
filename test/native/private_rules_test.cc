// SPDX-License-Identifier: Apache-2.0
// R8 for folios with private state: a clean one is lost by its recipe, and one thing wrong with its state
// makes it critical.
#include <doctest/doctest.h>

#include <functional>

#include "guest/private.hh"

using namespace pars;
using namespace pars::test;

namespace {

const std::map<std::string, KernelTypes> kKernels = {{"6.1", linux_6_1()},
                                                     {"6.12", linux_6_12()},
                                                     {"7.1", linux_7_1()}};
/// Where buffer heads are proven: also without folios.
const std::map<std::string, KernelTypes> kBuffered = {{"5.10", linux_5_10()},
                                                      {"6.1", linux_6_1()},
                                                      {"6.12", linux_6_12()},
                                                      {"7.1", linux_7_1()}};
const std::map<std::string, KernelTypes> kBtrfsBlocks = {{"7.1", linux_7_1()}};  // since 6.17

/// How a test's folios are made: two of one file, so that the second shows that nothing else was harmed.
struct Recipe {
  std::string file_system;
  uint32_t block_bits;
  uint32_t order;
  PrivateFolio (PrivateGuest::*add)(const File&, uint64_t, uint32_t);
  Reason reason;
};

const Recipe kSmallBlocks = {"ext4", 10, 0, &PrivateGuest::add_buffered, Reason::buffer_heads};
const Recipe kOneBlock = {"ext4", 12, 0, &PrivateGuest::add_buffered, Reason::buffer_heads};
const Recipe kLargeBuffered = {"ext4", 12, 4, &PrivateGuest::add_buffered, Reason::buffer_heads};
const Recipe kSmallIomap = {"xfs", 10, 0, &PrivateGuest::add_iomap, Reason::iomap_blocks};
const Recipe kLargeIomap = {"xfs", 12, 6, &PrivateGuest::add_iomap, Reason::iomap_blocks};
const Recipe kMarked = {"btrfs", 12, 0, &PrivateGuest::add_marked, Reason::btrfs_mark};
const Recipe kLargeBtrfs = {"btrfs", 12, 4, &PrivateGuest::add_btrfs_blocks, Reason::btrfs_blocks};
const Recipe kPairBtrfs = {"btrfs", 12, 1, &PrivateGuest::add_btrfs_blocks, Reason::btrfs_blocks};
const Recipe kPairIomap = {"xfs", 12, 1, &PrivateGuest::add_iomap, Reason::iomap_blocks};

struct Pair {
  Pair(const KernelTypes& types, const Recipe& recipe)
      : guest(types),
        file(guest.make_private_file(recipe.file_system, recipe.block_bits)),
        victim((guest.*recipe.add)(file, 64, recipe.order)),
        neighbour((guest.*recipe.add)(file, 128, recipe.order)) {}
  PrivateGuest guest;
  File file;
  PrivateFolio victim, neighbour;
};

using Break = std::function<void(PrivateGuest&, PrivateFolio&)>;

void check_breaks(const Recipe& recipe, const std::map<std::string, Break>& breaks,
                  Reason why = Reason::private_busy,
                  const std::map<std::string, KernelTypes>& kernels = kKernels) {
  for (const auto& [release, types] : kernels)
    for (const auto& [key, broken] : breaks) {
      const std::string &kernel = release,
                        &name = key;  // a lambda of clang 14 cannot take a structured binding
      CAPTURE(kernel);
      CAPTURE(name);
      Pair p(types, recipe);
      broken(p.guest, p.victim);
      const Seen seen = p.guest.look();
      REQUIRE(seen.reason == "");
      for (uint64_t i = 0; i < 1ull << recipe.order; i++)
        CHECK(seen.at(p.victim.pfn + i) == PageClass::other_cache);
      CHECK(seen.why(p.victim.pfn) == why);
      CHECK(std::string(facts_of(seen.why(p.victim.pfn)).rule) == "R8");
      CHECK(seen.at(p.neighbour.pfn) == PageClass::clean_cache);
      CHECK(seen.why(p.neighbour.pfn) == recipe.reason);
    }
}

/// What the recovery of a folio clears: guest-physical byte and mask.
std::map<uint64_t, uint8_t> cleared(PrivateGuest& g, const Seen& seen, const PrivateFolio& folio) {
  std::map<uint64_t, uint64_t> frame_at;
  for (uint64_t pfn = 0; pfn < 4096; pfn++)
    if (g.memory.location(pfn) != kZeroPage) frame_at[g.memory.location(pfn)] = pfn;
  std::map<uint64_t, uint8_t> out;
  for (const FolioRecovery& f : seen.recovery.folios) {
    if (f.first_payload != g.memory.location(folio.pfn)) continue;
    for (uint32_t i = f.first_write; i < f.first_write + f.writes; i++) {
      const RecoveryWrite& w = seen.recovery.writes[i];
      auto page = std::prev(frame_at.upper_bound(w.image_offset));
      CHECK(w.value == 0);
      out[page->second * kPage + w.image_offset - page->first] = w.mask;
    }
  }
  return out;
}

std::map<uint64_t, uint8_t> uptodate_of(PrivateGuest& g, const PrivateFolio& folio) {
  return {{g.gpa(g.page_va(folio.pfn)), static_cast<uint8_t>(g.types.bit("pageflags", "PG_uptodate"))}};
}

Break buffer(uint64_t nth, const char* field, uint64_t value) {
  return [=](PrivateGuest& g, PrivateFolio& f) { g.set_buffer(f, nth, field, value); };
}

/// Every field of one buffer but its link, and every bit of its state.
std::map<std::string, Break> buffer_breaks(uint64_t nth) {
  std::map<std::string, Break> breaks = {
      {"in use", buffer(nth, "b_count", 1)},
      {"its lock is held", buffer(nth, "b_uptodate_lock", 1)},
      {"a journal's head", buffer(nth, "b_private", kDirectMap + 4096)},
      {"another size", buffer(nth, "b_size", 2048)},
      {"no size", buffer(nth, "b_size", 0)},
      {"other data", buffer(nth, "b_data", kDirectMap + 4096)},
      {"no data", buffer(nth, "b_data", 0)},
      {"no state", buffer(nth, "b_state", 0)},
      {"not up to date",
       [=](PrivateGuest& g, PrivateFolio& f) {
         g.set_buffer(f, nth, "b_state", g.types.bit("bh_state_bits", "BH_Mapped"));
       }},
      {"tied to an inode",
       [=](PrivateGuest& g, PrivateFolio& f) { g.set_buffer(f, nth, g.association(), kDirectMap + 4096); }},
      {"another folio's",
       [=](PrivateGuest& g, PrivateFolio& f) {
         g.set_buffer(f, nth, g.back_pointer(), g.page_va(g.small[0]));
       }},
      {"no folio's", [=](PrivateGuest& g, PrivateFolio& f) { g.set_buffer(f, nth, g.back_pointer(), 0); }},
  };
  for (uint32_t bit = 0; bit < 64; bit++)
    breaks["state bit " + std::to_string(bit)] = [=](PrivateGuest& g, PrivateFolio& f) {
      const auto& bits = g.types.enums.at("bh_state_bits");
      const auto is = [&](const char* name) { return bits.at(name) == int32_t(bit); };
      const uint64_t state = g.get("buffer_head", f.buffers[nth], "b_state");
      if (is("BH_Uptodate") || is("BH_Req") || is("BH_Mapped") || is("BH_Boundary"))
        g.set_buffer(f, nth, "b_count", 1);  // harmless: broken otherwise
      else g.set_buffer(f, nth, "b_state", state | 1ull << bit);
    };
  return breaks;
}

std::map<std::string, Break> pointer_breaks() {
  std::map<std::string, Break> breaks;
  for (uint64_t pointer :
       std::vector<uint64_t>{0, 1, 2, 8, 0x7f0000001000, 0xffff890000000000, ~0ull, ~7ull, kDirectMap,
                             kDirectMap + 16 * kMiB - 8, kDirectMap + 16 * kMiB})
    breaks["private " + std::to_string(pointer)] = [=](PrivateGuest& g, PrivateFolio& f) {
      g.set_page(f.pfn, "private", pointer);
    };
  breaks["private off by one"] = [](PrivateGuest& g, PrivateFolio& f) {
    g.set_page(f.pfn, "private", f.state + 1);
  };
  breaks["private off by a word"] = [](PrivateGuest& g, PrivateFolio& f) {
    g.set_page(f.pfn, "private", f.state + 8);
  };
  return breaks;
}

}  // namespace

namespace {

/// Folios as `types` has them, and a kernel whose BTF says less.
void check_unknown(const KernelTypes& types, const Recipe& recipe, const KernelTypes& said,
                   Reason why = Reason::private_unknown) {
  Pair p(types, recipe);
  const std::vector<uint8_t> blob = BtfWriter(said).blob();
  p.guest.memory.write(p.guest.btf_frame * kPage + 8, blob.data(), blob.size());
  const Seen seen = p.guest.look();
  CHECK(seen.reason == "");
  CHECK(seen.at(p.victim.pfn) == PageClass::other_cache);
  CHECK(seen.why(p.victim.pfn) == why);
  CHECK(seen.at(p.guest.small[0]) == PageClass::clean_cache);
}

/// Without each field that the recipe's struct has, but for those it has no use for.
void check_every_field(const KernelTypes& types, const Recipe& recipe, const std::string& structure,
                       std::string_view useless) {
  for (const Field& f : types.structs.at(structure).fields) {
    if (useless.find(f.name) != std::string_view::npos) continue;
    CAPTURE(f.name);
    KernelTypes less = types;
    check_unknown(types, recipe, less.drop(structure, f.name));
  }
}

}  // namespace

TEST_CASE("R8: a folio with idle buffer heads is lost with BH_Uptodate of each") {
  for (const auto& [key, types] : kBuffered)
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
    check_breaks(kSmallBlocks, buffer_breaks(nth), Reason::private_busy, kBuffered);
  check_breaks(kOneBlock, buffer_breaks(0));
  check_breaks(kLargeBuffered, buffer_breaks(15));
}

TEST_CASE("R8: a ring of buffer heads that is not exactly the folio's makes it critical") {
  check_breaks(kSmallBlocks, pointer_breaks(), Reason::private_busy, kBuffered);
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
  for (const auto& [key, types] : kKernels)
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
  for (const auto& [key, types] : kKernels) {
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

namespace {

/// The mark is btrfs's alone: with ext4 and XFS it is no state.
void check_unmarked_elsewhere() {
  const Break marked = [](PrivateGuest& g, PrivateFolio& f) { g.set_page(f.pfn, "private", 1); };
  check_breaks(kSmallBlocks, {{"ext4", marked}});
  check_breaks(kSmallIomap, {{"xfs", marked}});
}

}  // namespace

TEST_CASE("R8: a folio with btrfs's mark is lost, and keeps the mark") {
  for (const auto& [key, types] : kKernels) {
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
  for (const auto& [key, types] : kKernels) {
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

TEST_CASE("R8: a kernel without folios has no private state with a recovery but buffer heads") {
  check_unknown(linux_5_10(), kSmallIomap, linux_5_10());
}

TEST_CASE("R8: private state is critical when BTF lacks a field or a bit that its recipe names") {
  for (const auto& [key, types] : kKernels) {
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

TEST_CASE("R13: a btrfs is critical when BTF lacks what leads to its disks") {
  const std::pair<const char*, const char*> fields[] = {{"block_device", "bd_holder"},
                                                        {"super_block", "s_inodes"},
                                                        {"inode", "i_sb_list"},
                                                        {"bdev_inode", "bdev"},
                                                        {"bdev_inode", "vfs_inode"}};
  for (const auto& [key, types] : kKernels)
    for (const auto& [structure, field] : fields) {
      KernelTypes less = types;
      check_unknown(types, kMarked, less.drop(structure, field), Reason::no_block_device);
    }
}

TEST_CASE("R8: private state in memory that could be lost itself is no target") {
  for (const auto& [key, types] : kKernels) {
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
