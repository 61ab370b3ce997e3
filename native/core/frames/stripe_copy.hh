// SPDX-License-Identifier: Apache-2.0
// A stripe's frames, copied out of the image by whoever trusts nobody: a layout says which page belongs to
// which frame, and every byte comes from the image itself (R20). Whoever made the layout read hostile bytes
// (R1), so it is checked as if an enemy had written it.
#pragma once
#include <functional>
#include <vector>

#include "core/frames/frame.hh"
#include "core/result.hh"

namespace pars {

/// A block of a sparse image: where its bitmap stands, and its pages (docs/format.md, "Sparse images").
struct MappedPlaces {
  uint64_t bitmap_offset = 0;
  uint64_t pages_offset = 0;
  uint64_t bytes = 0;
};

/// The image as the one who copies reads it.
struct ImageSource {
  /// Fills `into` from that offset on; false when it cannot.
  std::function<bool(uint64_t offset, std::span<uint8_t> into)> read;
  std::vector<MappedPlaces> blocks;  ///< none: every page has its record in front
};

/// A stretch of the image, and the tables of its StripeLayout (stripe.hh).
struct StripePlan {
  uint64_t image_offset = 0;
  uint64_t image_bytes = 0;
  Bytes runs;
  Bytes references;  ///< whatever digests stand there are replaced by those of the image's pages
};

/// The stripe's frames but for recovery, skeleton first, as cut_stripe() makes them of a map. Refused: a
/// layout that does not make a stripe of that length, a page where neither a page's record nor a block's
/// place is, a page told to repeat a word that does not. Kinds that are not `wanted` come without bytes; all
/// that are critical must be.
Result<std::vector<RawFrame>> copy_stripe(const StripePlan& plan, const ImageSource& image,
                                          FrameKinds wanted = FrameKinds().set());

/// Nothing in the stretch, whole pages of one block, is a page whose bit is set and that is not zero.
Status check_zero_pages(uint64_t offset, uint64_t bytes, const ImageSource& image);

/// A recovery can be read, and writes to nothing outside [from, until).
Status check_recovery(Bytes frame, uint64_t from, uint64_t until);

}  // namespace pars
