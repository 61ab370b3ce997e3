// SPDX-License-Identifier: Apache-2.0
// Asks BTF for fields by name, and remembers whether all were there, so that a layout is read in one breath
// and judged once.
#pragma once
#include "core/kernel/btf.hh"

namespace pars {

class Fields {
 public:
  explicit Fields(const Btf& btf) : btf_(btf) {}

  /// Offset of a field of this size.
  uint32_t at(const char* type, const char* path, uint32_t bytes) {
    const auto m = btf_.member(type, path);
    whole = whole && m && m->bytes == bytes;
    return m ? m->offset : 0;
  }
  /// Offset of a field of any size.
  uint32_t start(const char* type, const char* path) {
    const auto m = btf_.member(type, path);
    whole = whole && m.has_value();
    return m ? m->offset : 0;
  }
  uint32_t pointer(const char* type, const char* path) { return at(type, path, 8); }
  uint32_t size(const char* type) {
    const auto bytes = btf_.struct_size(type);
    whole = whole && bytes.has_value();
    return bytes ? *bytes : 0;
  }
  /// What copies do not agree on is neither there nor absent.
  bool has(const char* type, const char* path) {
    const auto m = btf_.member(type, path);
    whole = whole && !m.is_ambiguous();
    return m.has_value();
  }
  /// The mask of a bit that an enumerator numbers.
  uint64_t bit(const char* type, const char* name) {
    const auto number = btf_.enumerator(type, name);
    whole = whole && number && *number >= 0 && *number < 64;
    return whole ? 1ull << *number : 0;
  }
  uint32_t number(const char* type, const char* name) {
    const auto value = btf_.enumerator(type, name);
    whole = whole && value && *value >= 0;
    return value ? static_cast<uint32_t>(*value) : 0;
  }

  bool whole = true;  ///< nothing was missing, or of another size

 private:
  const Btf& btf_;
};

}  // namespace pars
