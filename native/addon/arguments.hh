// SPDX-License-Identifier: Apache-2.0
// Arguments from JavaScript. TypeScript has checked their meaning; here only their types, so that no value
// can crash us.
#pragma once
#include <napi.h>

#include <cstdint>
#include <optional>

#include "core/bytes.hh"

namespace pars::addon {

/// A whole number from 0 to 2^53.
inline std::optional<uint64_t> whole_number(const Napi::Value& value) {
  if (!value.IsNumber()) return std::nullopt;
  double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= 9007199254740992.0) ||
      number != static_cast<double>(static_cast<uint64_t>(number)))
    return std::nullopt;
  return static_cast<uint64_t>(number);
}

inline std::optional<int> descriptor(const Napi::Value& value) {
  auto number = whole_number(value);
  if (!number || *number > INT32_MAX) return std::nullopt;
  return static_cast<int>(*number);
}

inline std::optional<Bytes> buffer(const Napi::Value& value) {
  if (!value.IsBuffer()) return std::nullopt;
  auto bytes = value.As<Napi::Buffer<uint8_t>>();
  return Bytes(bytes.Data(), bytes.Length());
}

}  // namespace pars::addon
