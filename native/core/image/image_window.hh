// SPDX-License-Identifier: Apache-2.0
// The stretch of an image that a walk is looking at. Walking through the mapping costs a TLB miss a page.
// Where that is dear (under some hypervisors 1.7 us, more than read(2) takes to copy the page) the stretch is
// read into a buffer that stays in the cache.
#pragma once
#include <memory>

#include "core/bytes.hh"

namespace pars {

/// The image as a descriptor, beside its mapping.
struct ImageDescriptor {
  int fd = -1;               ///< -1: there is only the mapping
  bool always_read = false;  ///< without measuring; for tests
};

class ImageWindow {
 public:
  ImageWindow(Bytes image, ImageDescriptor descriptor)
      : image_(image),
        fd_(descriptor.fd),
        buffered_(descriptor.always_read),
        decided_(descriptor.fd < 0 || descriptor.always_read) {}

  /// The bytes from `offset` on: all of them from the mapping; from the buffer at least `least`, if the image
  /// has as many. Valid until the next call.
  Bytes from(uint64_t offset, uint64_t least);

  bool buffered() const { return buffered_; }
  /// Measures both ways on the image itself and stays with the faster one. To be told of every `bytes`
  /// walked.
  void walked(uint64_t bytes);

 private:
  bool fill(uint64_t offset);
  double lap();

  Bytes image_;
  int fd_;
  bool buffered_, decided_;
  uint64_t trial_bytes_ = 0;
  double began_ = 0, mapped_seconds_ = 0;
  std::unique_ptr<uint8_t[]> buffer_;
  uint64_t at_ = 0, held_ = 0;  // what the buffer holds of the image
};

}  // namespace pars
