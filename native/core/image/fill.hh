// SPDX-License-Identifier: Apache-2.0
// Pages that are one repeated 64-bit word: free memory that was cleared or poisoned, for the most part. They
// are stored as that word.
#pragma once
#include <algorithm>
#include <vector>

#include "core/bytes.hh"

namespace pars {

inline constexpr uint64_t kPageSize = 4096;

/// True when the 4096 bytes are one repeated 64-bit word (zero included).
inline bool is_fill(const uint8_t* page) {
  const uint64_t word = load_le<uint64_t>(page);
  if (load_le<uint64_t>(page + 8) != word || load_le<uint64_t>(page + 4088) != word) return false;
  return std::memcmp(page, page + 8, kPageSize - 8) == 0;
}

/// Cheaper: looks at the page's first cache line only. False means that is_fill is false.
inline bool may_be_fill(const uint8_t* page) {
  return load_le<uint64_t>(page) == load_le<uint64_t>(page + 8);
}

/// One bit for each 4096 bytes of an image: no two payloads of page records begin in the same.
class FillCandidates {
 public:
  void reset(uint64_t image_bytes) { bits_.assign(image_bytes / kPageSize / 64 + 1, 0); }
  void note(uint64_t payload) { bits_[payload / kPageSize / 64] |= 1ull << payload / kPageSize % 64; }
  /// True also for all payloads of a stream that nobody looked through.
  bool may_be(uint64_t payload) const {
    return bits_.empty() || (bits_[payload / kPageSize / 64] >> payload / kPageSize % 64 & 1);
  }
  void merge(const FillCandidates& other) {
    for (size_t i = 0; i < std::min(bits_.size(), other.bits_.size()); i++) bits_[i] |= other.bits_[i];
  }

 private:
  std::vector<uint64_t> bits_;
};

}  // namespace pars
