// SPDX-License-Identifier: Apache-2.0
// Frames: the kinds of bytes a stripe is cut into, and their zstd coding. Formats: docs/format.md, "Frames".
#pragma once
#include <bitset>
#include <memory>
#include <span>
#include <vector>

#include "core/bytes.hh"
#include "core/pages/page_class.hh"
#include "core/result.hh"

struct ZSTD_CCtx_s;

namespace pars {

/// Frame kinds below kPageClasses are page classes.
inline constexpr uint8_t kFillFrame = 12;
static_assert(kPageClasses <= kFillFrame, "a page class with the number of another frame");
inline constexpr uint8_t kSkeletonFrame = 13;
inline constexpr uint8_t kRecoveryFrame = 14;
/// References to one of the guest's disks (disk_reference.hh); when a stripe is put together, the pages they
/// stand for.
inline constexpr uint8_t kDiskFrame = 15;
/// The recovery of clean cache that is referenced.
inline constexpr uint8_t kDiskRecoveryFrame = 16;
inline constexpr size_t kFrameKinds = 17;

/// No frame decompresses to more: a stripe is at most kMaxStripeBytes (stripe.hh) long.
inline constexpr uint64_t kMaxFrameBytes = 64ull << 20;

inline constexpr bool payload_kind(uint8_t kind) {
  return kind < kPageClasses || kind == kFillFrame || kind == kDiskFrame;
}
/// Only payload of these may be lost; all else is critical.
inline constexpr bool expendable_kind(uint8_t kind) {
  return kind < kPageClasses && expendable(static_cast<PageClass>(kind));
}

using FrameKinds = std::bitset<kFrameKinds>;

/// A frame before compression.
struct RawFrame {
  uint8_t kind = 0;
  uint32_t pages = 0;
  std::vector<uint8_t> bytes;  ///< empty for a class whose bytes nobody wants
};

/// Compresses frame after frame with one zstd context. Not for two threads at once.
class Compressor {
 public:
  explicit Compressor(int level);
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;
  /// Replaces `out` by one zstd frame that records its content size.
  Status compress(Bytes raw, std::vector<uint8_t>& out);
  /// The same, to the front of `room`; its length.
  Result<size_t> compress_into(Bytes raw, std::span<uint8_t> room);

 private:
  bool make_room(size_t bytes);
  ZSTD_CCtx_s* context_;
  int level_;
  std::unique_ptr<uint8_t[]> room_;  ///< kept from frame to frame; a vector would be cleared each time
  size_t room_bytes_ = 0;
};

/// Decompresses exactly one zstd frame of exactly out.size() bytes; anything else is corrupt.
Status decompress(Bytes frame, std::span<uint8_t> out);

/// Corrupt unless the zstd frame decompresses to `raw`. `room` is for raw.size() bytes.
Status unpacks_to(Bytes frame, Bytes raw, std::span<uint8_t> room);

inline constexpr int kMinLevel = 1;
inline constexpr int kMaxLevel = 19;

}  // namespace pars
