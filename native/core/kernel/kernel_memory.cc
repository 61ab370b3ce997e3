// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/kernel_memory.hh"

#include <algorithm>

namespace pars {

namespace {
constexpr uint64_t kPresent = 1, kWritable = 2, kLarge = 0x80;
constexpr uint64_t kAddress = 0x000ffffffffff000;
}  // namespace

TableEntry KernelMemory::walk(uint64_t va) const {
  if (va >> 63 == 0)
    return {false, false, 0, kPageSize};  // the user half: a process chooses what lies there (R2)
  const int levels = five_levels_ ? 5 : 4;
  const int sign_bits = 64 - (12 + 9 * levels);
  if (static_cast<uint64_t>(static_cast<int64_t>(va << sign_bits) >> sign_bits) != va)
    return {false, false, 0, kPageSize};
  TableEntry found{false, true, 0, 0};
  uint64_t table = top_;
  for (int level = levels; level >= 1; level--) {
    const int shift = 12 + 9 * (level - 1);
    found.bytes = 1ull << shift;
    const uint8_t* page = ram_->page(table);
    if (!page) return found;
    const uint64_t entry = load_le<uint64_t>(page + ((va >> shift) & 511) * 8);
    if (!(entry & kPresent)) return found;
    found.writable = found.writable && (entry & kWritable);
    table = entry & kAddress;
    if (level == 1 || ((entry & kLarge) && level <= 3)) break;
  }
  found.present = true;
  found.gpa = (table & ~(found.bytes - 1)) | (va & (found.bytes - 1));
  return found;
}

std::optional<uint64_t> KernelMemory::translate(uint64_t va) const {
  const TableEntry entry = walk(va);
  if (!entry.present) return std::nullopt;
  return entry.gpa;
}

const uint8_t* KernelMemory::page(uint64_t va) const {
  const uint64_t base = va & ~(kPageSize - 1);
  CachedPage& slot = cache_[(base >> 12) % cache_.size()];
  if (slot.va == base) return slot.bytes;
  const TableEntry entry = walk(base);
  slot = {base, entry.present ? ram_->page(entry.gpa) : nullptr};
  return slot.bytes;
}

const uint8_t* KernelMemory::at(uint64_t va, uint64_t bytes) const {
  const uint64_t within = va & (kPageSize - 1);
  if (bytes > kPageSize - within) return nullptr;
  const uint8_t* p = page(va);
  return p ? p + within : nullptr;
}

bool KernelMemory::read(uint64_t va, void* out, uint64_t bytes) const {
  auto* to = static_cast<uint8_t*>(out);
  while (bytes > 0) {
    const uint64_t step = std::min(bytes, kPageSize - (va & (kPageSize - 1)));
    const uint8_t* from = at(va, step);
    if (!from) return false;
    std::memcpy(to, from, step);
    to += step, va += step, bytes -= step;
  }
  return true;
}

std::optional<std::string> KernelMemory::text(uint64_t va, uint64_t limit) const {
  std::string out;
  for (uint64_t i = 0; i < limit; i++) {
    auto c = u8(va + i);
    if (!c) return std::nullopt;
    if (*c == 0) return out;
    out.push_back(static_cast<char>(*c));
  }
  return std::nullopt;
}

}  // namespace pars
