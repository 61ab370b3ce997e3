// SPDX-License-Identifier: Apache-2.0
// A stripe of the image, cut into frames: payload by page class, words in place of pages that repeat one, and
// a skeleton of everything else, from which assembly.hh puts it together again. Formats: docs/format.md,
// "Stripes".
#pragma once
#include <span>
#include <vector>

#include "core/frames/disk_reference.hh"
#include "core/frames/frame.hh"
#include "core/image/migration_stream.hh"
#include "core/pages/page_class.hh"
#include "core/pages/recovery.hh"

namespace pars {

/// A stripe is cut shorter (between records) where zero records or device state would make it longer than
/// this.
inline constexpr uint64_t kMaxStripeBytes = 16ull << 20;
/// Stripes of an image that is not looked into.
inline constexpr uint64_t kBlindStripeBytes = 8ull << 20;

/// A stretch of the image.
struct Extent {
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t end() const { return offset + length; }
};

using PageClasses = std::vector<std::vector<PageClass>>;  ///< [block][page frame], as Inspection has them

/// True for a page that is one 64-bit word, 512 times.
bool repeats_one_word(const uint8_t* page);

/// The payloads of one stretch and the frame kind each belongs to, in stream order, none overlapping.
struct StripeMap {
  struct Payload {
    uint64_t offset;  ///< in the image
    uint16_t header_bytes;
    uint8_t source;
    bool zero = false;  ///< mapped-ram: a zero page, whatever bytes lie there
    PageClass page_class = PageClass::kernel;
    DiskPlace place = {};  ///< of a payload whose source is kDiskFrame
  };
  Extent extent;
  std::vector<Payload> payloads;
  bool hole = false;  ///< mapped-ram: nothing but zero pages, of which nothing is kept
};

/// Maps one stripe. A record that does not lie whole within it, or not behind the one before, is left to the
/// skeleton: kept, whatever it is. `references`, ascending by payload: what a disk holds, too, and need not
/// be stored.
StripeMap map_stripe(Bytes image, Extent extent, std::span<const PageRecord> records,
                     const PageClasses& classes, std::span<const PageReference> references = {});

/// Cuts a map that is too long into maps of at most kMaxStripeBytes, never within a record.
std::vector<StripeMap> split_stripe(StripeMap map);

/// Which frame holds which page of a stripe, and none of its bytes: what copy_stripe() (stripe_copy.hh)
/// needs.
struct StripeLayout {
  std::vector<uint8_t> runs;        ///< its run table, with nothing behind it
  std::vector<uint8_t> references;  ///< without digests; empty when a disk holds none of its pages
};
StripeLayout lay_out(const StripeMap& map);

/// The stripe's frames but for recovery, skeleton first: the plain twin of copy_stripe(). `map.extent` must
/// lie within the image. The bytes of classes that are not `wanted` are not even read.
std::vector<RawFrame> cut_stripe(Bytes image, const StripeMap& map, FrameKinds wanted = FrameKinds().set());

/// Where pages of clean cache lie whose bytes are in frames of kind `source`: what their recovery is for.
std::vector<uint64_t> clean_cache_payloads(const StripeMap& map, uint8_t source);

/// True if every one of `targets` (sorted image offsets) that lies in the stripe hits payload that is never
/// lost. Restore refuses any other write, so a snapshot must not come to hold one.
bool targets_are_critical(const StripeMap& map, std::span<const uint64_t> targets);

}  // namespace pars
