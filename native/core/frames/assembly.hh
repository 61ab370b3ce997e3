// SPDX-License-Identifier: Apache-2.0
// A stripe put together from its frames. What comes out of a store is as little to be trusted as what goes
// in: every count and size must add up exactly, or the stripe is corrupt.
#pragma once
#include <array>
#include <span>
#include <vector>

#include "core/frames/frame.hh"
#include "core/frames/run_table.hh"
#include "core/pages/recovery.hh"

namespace pars {

/// How the payloads of a frame that is not to be had are written. Both are the same memory to QEMU.
enum class Loss : uint8_t {
  none,
  packed,    ///< their records become zero records, the stripe gets shorter
  in_place,  ///< zeros; every byte keeps its offset
};

/// One frame of a stripe, decompressed.
struct StripePart {
  bool present = false;
  Loss loss = Loss::none;
  uint64_t raw_bytes = 0;  ///< the index's word for it; bytes.size() unless lost
  Bytes bytes;
};

struct StripeParts {
  uint64_t image_offset = 0;
  uint64_t image_bytes = 0;
  std::array<StripePart, kFrameKinds> parts{};  ///< by kind
};

class Assembly {
 public:
  /// Proves that the parts add up to the stripe. They must outlive the assembly.
  static Result<Assembly> plan(const StripeParts& stripe);

  /// Bytes that write() produces: the stripe's length, less what packed loss saves.
  uint64_t size() const { return size_; }

  /// Writes the stripe into `out`, size() bytes. Every write must hit payload of this stripe that is never
  /// lost.
  Status write(std::span<uint8_t> out, std::vector<RecoveryWrite> writes) const;

 private:
  Assembly(const StripeParts& stripe, RunTable table) : stripe_(stripe), table_(std::move(table)) {}
  StripeParts stripe_;
  RunTable table_;
  uint64_t size_ = 0;
};

}  // namespace pars
