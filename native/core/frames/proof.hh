// SPDX-License-Identifier: Apache-2.0
// The frames of a stripe, compared with the image they were made of. Whoever made them read hostile bytes
// (R1); an image may be freed only for frames of which restore makes the same bytes (R20).
#pragma once
#include <functional>
#include <vector>

#include "core/frames/assembly.hh"

namespace pars {

/// A block of a sparse image: where its bitmap stands, and its pages (docs/format.md, "Sparse images").
struct MappedPlaces {
  uint64_t bitmap_offset = 0;
  uint64_t pages_offset = 0;
  uint64_t bytes = 0;
};

/// The image as the one who proves reads it.
struct ProofImage {
  /// Fills `into` from that offset on; false when it cannot.
  std::function<bool(uint64_t offset, std::span<uint8_t> into)> read;
  std::vector<MappedPlaces> blocks;  ///< none: every page has its record in front
};

/// Puts the parts into place as restore does and compares each byte with the image's. Of pages that are not
/// stored only their places are checked: a page's record, or a place in a block, is what stands there. A part
/// of kind kDiskFrame is its table of references: each digest must be that of the image's own pages.
Status prove_stripe(const StripeParts& stripe, const ProofImage& image);

/// Nothing in the stretch, whole pages of one block, is a page whose bit is set and that is not zero.
Status prove_zero_pages(uint64_t offset, uint64_t bytes, const ProofImage& image);

/// A recovery can be read, and writes to nothing outside [from, until).
Status prove_recovery(Bytes frame, uint64_t from, uint64_t until);

}  // namespace pars
