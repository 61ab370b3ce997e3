// SPDX-License-Identifier: Apache-2.0
#include "core/result.hh"

namespace pars {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::truncated: return "truncated";
    case ErrorCode::bad_magic: return "bad-magic";
    case ErrorCode::partial_image: return "partial-image";
    case ErrorCode::bad_length: return "bad-length";
    case ErrorCode::bad_offset: return "bad-offset";
    case ErrorCode::bad_flags: return "bad-flags";
    case ErrorCode::bad_text: return "bad-text";
    case ErrorCode::unsupported_version: return "unsupported-version";
    case ErrorCode::unsupported_format: return "unsupported-format";
    case ErrorCode::unsupported_layout: return "unsupported-layout";
    case ErrorCode::limit: return "limit";
    case ErrorCode::corrupt: return "corrupt";
    case ErrorCode::io: return "io";
  }
  return "unknown";
}

}  // namespace pars
