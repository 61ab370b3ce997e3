// SPDX-License-Identifier: Apache-2.0
// Kernel virtual memory of the guest: translation by the page tables at a vCPU's CR3, and bounded reads
// through it. Source: Intel SDM vol. 3, 4.5 (4- and 5-level paging).
#pragma once
#include <array>
#include <optional>
#include <string>

#include "core/kernel/guest_ram.hh"

namespace pars {

/// What a walk of the tables found: a page, or how much of the address space the missing entry would have
/// covered.
struct TableEntry {
  bool present = false;
  bool writable = false;
  uint64_t gpa = 0;
  uint64_t bytes = 0;  ///< covered by the entry that decided: 4 KiB, 2 MiB, 1 GiB ...
};

class KernelMemory {
 public:
  KernelMemory(const GuestRam& ram, uint64_t top_table, bool five_levels)
      : ram_(&ram), top_(top_table), five_levels_(five_levels) {}

  /// Walks the tables; not present also when a table lies outside RAM or the address is not canonical.
  TableEntry walk(uint64_t va) const;
  /// The guest-physical address behind `va`, without the cache.
  std::optional<uint64_t> translate(uint64_t va) const;
  /// `bytes` contiguous bytes at `va`, which must not cross a 4 KiB page; nullptr when they do or are not
  /// RAM.
  const uint8_t* at(uint64_t va, uint64_t bytes) const;
  /// Copies, crossing pages where it must.
  bool read(uint64_t va, void* out, uint64_t bytes) const;
  std::optional<uint64_t> u64(uint64_t va) const { return load<uint64_t>(va); }
  std::optional<uint32_t> u32(uint64_t va) const { return load<uint32_t>(va); }
  std::optional<uint16_t> u16(uint64_t va) const { return load<uint16_t>(va); }
  std::optional<uint8_t> u8(uint64_t va) const { return load<uint8_t>(va); }
  /// A NUL-terminated string of fewer than `limit` bytes; nullopt when it has no end there.
  std::optional<std::string> text(uint64_t va, uint64_t limit) const;

  const GuestRam& ram() const { return *ram_; }

 private:
  template <class T>
  std::optional<T> load(uint64_t va) const {
    if (const uint8_t* p = at(va, sizeof(T))) return load_le<T>(p);
    T value;
    if (!read(va, &value, sizeof value)) return std::nullopt;
    return value;
  }

  struct CachedPage {
    uint64_t va = 1;  // never page-aligned, so never a hit
    const uint8_t* bytes = nullptr;
  };
  const uint8_t* page(uint64_t va) const;

  const GuestRam* ram_;
  uint64_t top_;
  bool five_levels_;
  mutable std::array<CachedPage, 4096> cache_{};
};

}  // namespace pars
