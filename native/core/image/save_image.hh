// SPDX-License-Identifier: Apache-2.0
// The file libvirt writes for `managedsave`, `save` and memory snapshots: a header, the domain XML, a cookie,
// then QEMU's own migration stream. Byte table: docs/format.md, "The libvirt save image".
#pragma once
#include <string_view>

#include "core/bytes.hh"
#include "core/result.hh"

namespace pars {

enum class SaveFormat : uint32_t { raw = 0, gzip = 1, bzip2 = 2, xz = 3, lzop = 4, zstd = 5, sparse = 6 };

/// "raw", "gzip", ... or nullptr for a number no libvirt writes.
const char* save_format_name(uint32_t format);

struct SaveImage {
  uint32_t version = 0;
  uint32_t was_running = 0;
  SaveFormat format = SaveFormat::raw;
  std::string_view xml;        ///< the domain XML, without its NUL; points into the image
  uint64_t stream_offset = 0;  ///< first byte of the QEMU stream: 92 + data_len
};

/// Parses the header and finds the XML. Reads nothing past the stream's offset.
/// Errors: truncated, bad_magic, partial_image, unsupported_version, bad_length, unsupported_format (unknown
/// number), bad_text.
Result<SaveImage> parse_save_image(Bytes image);

}  // namespace pars
