// SPDX-License-Identifier: Apache-2.0
// A bounded cursor over bytes nobody vouches for. Every read of an image goes through it or through
// guest_ram.hh.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace pars {

using Bytes = std::span<const uint8_t>;

template <class T>
inline T load_le(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
void append_le(std::vector<uint8_t>& out, T value) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}
inline uint16_t load_be16(const uint8_t* p) { return __builtin_bswap16(load_le<uint16_t>(p)); }
inline uint32_t load_be32(const uint8_t* p) { return __builtin_bswap32(load_le<uint32_t>(p)); }
inline uint64_t load_be64(const uint8_t* p) { return __builtin_bswap64(load_le<uint64_t>(p)); }

/// Reads forward through `bytes`. A read past the end yields zero, moves nothing and marks the cursor failed
/// for good, so a parser may read a whole structure and ask ok() once.
class Cursor {
 public:
  explicit Cursor(Bytes bytes, uint64_t position = 0) : bytes_(bytes), position_(position) {
    if (position > bytes.size()) ok_ = false, position_ = bytes.size();
  }
  bool ok() const { return ok_; }
  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  uint8_t u8() { return has(1) ? bytes_[take(1)] : 0; }
  uint16_t be16() { return has(2) ? load_be16(&bytes_[take(2)]) : 0; }
  uint32_t be32() { return has(4) ? load_be32(&bytes_[take(4)]) : 0; }
  uint64_t be64() { return has(8) ? load_be64(&bytes_[take(8)]) : 0; }
  uint32_t le32() { return has(4) ? load_le<uint32_t>(&bytes_[take(4)]) : 0; }
  uint64_t le64() { return has(8) ? load_le<uint64_t>(&bytes_[take(8)]) : 0; }
  Bytes bytes(uint64_t count) { return has(count) ? bytes_.subspan(take(count), count) : Bytes{}; }
  std::string_view text(uint64_t count) {
    Bytes b = bytes(count);
    return {reinterpret_cast<const char*>(b.data()), b.size()};
  }
  void skip(uint64_t count) {
    if (has(count)) take(count);
  }

 private:
  bool has(uint64_t count) {
    if (ok_ && count <= remaining()) return true;
    ok_ = false;
    return false;
  }
  uint64_t take(uint64_t count) {
    uint64_t at = position_;
    position_ += count;
    return at;
  }

  Bytes bytes_;
  uint64_t position_ = 0;
  bool ok_ = true;
};

}  // namespace pars
