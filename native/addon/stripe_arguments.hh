// SPDX-License-Identifier: Apache-2.0
// The frames of one stripe as JavaScript hands them in, and their decompression.
#pragma once
#include <napi.h>

#include "addon/scratch.hh"
#include "core/frames/assembly.hh"

namespace pars::addon {

/// False for a value of another shape, a kind met twice, or a size no frame has.
bool read_frames(const Napi::Value& value, StripeParts& stripe);

/// Puts the decompressed bytes in place of the compressed ones, all in one scratch buffer. What was read from
/// the guest's disk is not compressed.
Status decompress_parts(StripeParts& stripe, Scratch& scratch);

}  // namespace pars::addon
