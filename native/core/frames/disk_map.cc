// SPDX-License-Identifier: Apache-2.0
#include "core/frames/disk_map.hh"

#include <algorithm>
#include <cstring>

namespace pars {

std::optional<DiskMap::Piece> DiskMap::at(uint64_t offset, uint64_t bytes) const {
  if (bytes == 0) return std::nullopt;
  if (!table_) return Piece{offset, bytes, 0};
  const size_t behind = entry_behind(offset);
  if (behind == 0) return std::nullopt;
  const size_t entry = behind - 1;
  const uint64_t within = offset - word(entry, 0), length = word(entry, 1);
  if (within >= length) return std::nullopt;
  return Piece{word(entry, 2) + within, std::min(bytes, length - within), word(entry, 3)};
}

uint64_t DiskMap::word(size_t entry, size_t index) const {
  uint64_t value;
  std::memcpy(&value, table_->data() + entry * kEntryBytes + index * sizeof value, sizeof value);
  return value;
}

/// The first entry that begins behind a place of the disk.
size_t DiskMap::entry_behind(uint64_t offset) const {
  size_t low = 0, high = table_->size() / kEntryBytes;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (word(middle, 0) <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

}  // namespace pars
