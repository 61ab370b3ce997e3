// SPDX-License-Identifier: Apache-2.0
// Where every page of a RAM block lies in the image: a fixed array of 64-bit offsets that starts as zeros and
// costs memory only where it is written, so that a short image may announce a large guest and still be cheap
// to read.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

namespace pars {

/// Where a guest page's current bytes are. The last record of a page wins; a page never sent is zero.
/// Packed into 64 bits: 0 = zero page, else the image offset of its 4096 payload bytes.
using PageLocation = uint64_t;
inline constexpr PageLocation kZeroPage = 0;

class PageIndex {
 public:
  PageIndex() = default;
  PageIndex(PageIndex&& other) noexcept { swap(other); }
  PageIndex& operator=(PageIndex&& other) noexcept {
    swap(other);
    return *this;
  }
  ~PageIndex();

  /// Becomes `pages` zero pages, whatever it was. False when the system refuses the address space; it is
  /// empty then. `dense`: most of it will be written, so large pages of memory are welcome.
  [[nodiscard]] bool reset(size_t pages, bool dense = false);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  PageLocation* data() { return data_; }
  const PageLocation* data() const { return data_; }
  PageLocation& operator[](size_t page) { return data_[page]; }
  PageLocation operator[](size_t page) const { return data_[page]; }
  PageLocation* begin() { return data_; }
  PageLocation* end() { return data_ + size_; }
  const PageLocation* begin() const { return data_; }
  const PageLocation* end() const { return data_ + size_; }

 private:
  void swap(PageIndex& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  PageLocation* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace pars
