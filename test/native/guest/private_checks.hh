// SPDX-License-Identifier: Apache-2.0
// Folios with private state: one by one what is wrong with it makes them critical.
#pragma once

#include <doctest/doctest.h>

#include <functional>

#include "private.hh"

namespace pars::test {

inline const std::map<std::string, KernelTypes> kBtrfsBlocks = {{"7.1", linux_7_1()}};  // since 6.17

/// How a test's folios are made: two of one file, so that the second shows that nothing else was harmed.
struct Recipe {
  std::string file_system;
  uint32_t block_bits;
  uint32_t order;
  PrivateFolio (PrivateGuest::*add)(const File&, uint64_t, uint32_t);
  Reason reason;
};

inline const Recipe kSmallBlocks = {"ext4", 10, 0, &PrivateGuest::add_buffered, Reason::buffer_heads};
inline const Recipe kOneBlock = {"ext4", 12, 0, &PrivateGuest::add_buffered, Reason::buffer_heads};
inline const Recipe kLargeBuffered = {"ext4", 12, 4, &PrivateGuest::add_buffered, Reason::buffer_heads};
inline const Recipe kSmallIomap = {"xfs", 10, 0, &PrivateGuest::add_iomap, Reason::iomap_blocks};
inline const Recipe kLargeIomap = {"xfs", 12, 6, &PrivateGuest::add_iomap, Reason::iomap_blocks};
inline const Recipe kMarked = {"btrfs", 12, 0, &PrivateGuest::add_marked, Reason::btrfs_mark};
inline const Recipe kLargeBtrfs = {"btrfs", 12, 4, &PrivateGuest::add_btrfs_blocks, Reason::btrfs_blocks};
inline const Recipe kPairBtrfs = {"btrfs", 12, 1, &PrivateGuest::add_btrfs_blocks, Reason::btrfs_blocks};
inline const Recipe kPairIomap = {"xfs", 12, 1, &PrivateGuest::add_iomap, Reason::iomap_blocks};

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

inline void check_breaks(const Recipe& recipe, const std::map<std::string, Break>& breaks,
                         Reason why = Reason::private_busy,
                         const std::map<std::string, KernelTypes>& kernels = kFolioKernels) {
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
inline std::map<uint64_t, uint8_t> cleared(PrivateGuest& g, const Seen& seen, const PrivateFolio& folio) {
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

inline std::map<uint64_t, uint8_t> uptodate_of(PrivateGuest& g, const PrivateFolio& folio) {
  return {{g.gpa(g.page_va(folio.pfn)), static_cast<uint8_t>(g.types.bit("pageflags", "PG_uptodate"))}};
}

inline Break buffer(uint64_t nth, const char* field, uint64_t value) {
  return [=](PrivateGuest& g, PrivateFolio& f) { g.set_buffer(f, nth, field, value); };
}

/// Every field of one buffer but its link, and every bit of its state.
inline std::map<std::string, Break> buffer_breaks(uint64_t nth) {
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

inline std::map<std::string, Break> pointer_breaks() {
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

/// Folios as `types` has them, and a kernel whose BTF says less.
inline void check_unknown(const KernelTypes& types, const Recipe& recipe, const KernelTypes& said,
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
inline void check_every_field(const KernelTypes& types, const Recipe& recipe, const std::string& structure,
                              std::string_view useless) {
  for (const Field& f : types.structs.at(structure).fields) {
    if (useless.find(f.name) != std::string_view::npos) continue;
    CAPTURE(f.name);
    KernelTypes less = types;
    check_unknown(types, recipe, less.drop(structure, f.name));
  }
}

}  // namespace pars::test
