// SPDX-License-Identifier: Apache-2.0
// Recovery frames: the writes that a stripe's lost clean-cache frame calls for. Byte table: docs/format.md,
// "Frames".
#pragma once
#include <vector>

#include "core/bytes.hh"
#include "core/pages/recovery.hh"
#include "core/result.hh"

namespace pars {

inline constexpr size_t kRecoveryHeaderBytes = 8;
inline constexpr size_t kRecoveryWriteBytes = 10;

/// Finds the writes of a stretch of the image among all of an image's.
class RecoveryIndex {
 public:
  /// `recovery` must outlive the index.
  explicit RecoveryIndex(const Recovery& recovery);

  /// The writes of every folio with payload in [begin, end). A folio's pages may lie apart, so some may be of
  /// a folio that only reaches past the stretch: its pages are then read from disk again for nothing, no
  /// more. `payloads`, ascending: folios that can have none of them are left out.
  std::vector<RecoveryWrite> writes_within(uint64_t begin, uint64_t end,
                                           const std::vector<uint64_t>* payloads = nullptr) const;

  /// Every image offset written to, sorted.
  std::vector<uint64_t> targets() const;

 private:
  const Recovery& recovery_;
  bool sorted_ = true;           ///< else every folio is looked at: slow, and nothing is left out
  std::vector<uint64_t> reach_;  ///< highest last_payload of the folios up to and with this one
};

std::vector<uint8_t> encode_recovery(const std::vector<RecoveryWrite>& writes);

/// Decodes bare writes, 10 bytes each.
Result<std::vector<RecoveryWrite>> decode_writes(Bytes bytes);

}  // namespace pars
