// SPDX-License-Identifier: Apache-2.0
// The head of an image: where it ends, its digest, and what stands behind it, found without reading past it,
// so that it serves stubs too.
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "core/bytes.hh"
#include "core/image/save_image.hh"

namespace pars::reader {

/// Where the head ends, and a stub's record stands. Raw: the first RAM record header at or after 4 MiB, 0
/// when the stream does not lead there. Sparse: the stream's start, 0 when there is neither stream nor
/// record. Compressed: the record of a stub, behind the preamble, whose bytes no compressor makes of a
/// migration stream; 0 when there is none.
uint64_t find_head_end(Bytes image, uint64_t stream_offset, SaveFormat format);

/// SHA-256 in hex.
std::string sha256_hex(Bytes bytes);

/// Up to 4096 bytes at the head's end in hex when they begin with the stub record's magic, else empty. A
/// record anywhere else is a guest's forgery.
std::string stub_record_hex(Bytes image, uint64_t head_end);

}  // namespace pars::reader
