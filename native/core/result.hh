// SPDX-License-Identifier: Apache-2.0
// Errors are values: a code a caller can act on, the byte offset it was met at, and a sentence that names the
// values. Nothing in the core throws on bad input.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace pars {

enum class ErrorCode {
  truncated,            // the bytes end before what they announce
  bad_magic,            // not the format it should be
  partial_image,        // libvirt was still writing it (LibvirtQemudPart)
  bad_length,           // an invalid length
  bad_offset,           // an offset outside what it points into
  bad_flags,            // a flag no known version writes
  bad_text,             // XML, JSON or names that do not parse
  unsupported_version,  // a version of the format that is not read
  unsupported_format,   // a known format that is not analysed (compressed)
  unsupported_layout,   // sections that cannot be skipped safely
  limit,                // more of something than any real image has
  corrupt,              // contents that do not match their checksum
  io,                   // the system refused
};

/// The stable, kebab-case name of a code; the same text crosses to TypeScript.
const char* error_code_name(ErrorCode code);

struct Error {
  ErrorCode code;
  uint64_t offset;   ///< byte offset in the image (or in the buffer parsed)
  std::string what;  ///< one sentence: what was met, what was expected
};

inline Error corrupt(uint64_t offset, std::string what) {
  return {ErrorCode::corrupt, offset, std::move(what)};
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}
  bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }
  T& value() { return std::get<T>(state_); }
  const T& value() const { return std::get<T>(state_); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  const Error& error() const { return std::get<Error>(state_); }

 private:
  std::variant<T, Error> state_;
};

struct Done {};
using Status = Result<Done>;

}  // namespace pars
