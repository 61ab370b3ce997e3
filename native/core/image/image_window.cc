// SPDX-License-Identifier: Apache-2.0
#include "core/image/image_window.hh"

#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace pars {

namespace {

constexpr uint64_t kBufferBytes = 256u << 10;  // half of a small second-level cache
constexpr uint64_t kTrialBytes = 16u << 20;    // a few milliseconds either way

double now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + double(t.tv_nsec) / 1e9;
}

}  // namespace

Bytes ImageWindow::from(uint64_t offset, uint64_t least) {
  if (offset >= image_.size()) return {};
  if (!buffered_) return image_.subspan(offset);
  const bool held = offset >= at_ && offset - at_ < held_ &&
                    (held_ - (offset - at_) >= least || at_ + held_ == image_.size());
  if (!held && !fill(offset)) return image_.subspan(offset);
  return {buffer_.get() + (offset - at_), held_ - (offset - at_)};
}

/// A read that fails or is cut short leaves the mapping, which is always right.
bool ImageWindow::fill(uint64_t offset) {
  if (!buffer_) buffer_ = std::make_unique_for_overwrite<uint8_t[]>(kBufferBytes);
  const uint64_t wanted = std::min<uint64_t>(kBufferBytes, image_.size() - offset);
  const ssize_t got = pread(fd_, buffer_.get(), wanted, off_t(offset));
  at_ = offset, held_ = got == ssize_t(wanted) ? wanted : 0;
  if (held_ == 0) buffered_ = false, decided_ = true;
  return held_ != 0;
}

void ImageWindow::walked(uint64_t bytes) {
  if (decided_) return;
  if (began_ == 0) began_ = now();
  trial_bytes_ += bytes;
  if (trial_bytes_ < kTrialBytes) return;
  const double seconds = lap();
  if (!buffered_) {
    mapped_seconds_ = seconds, buffered_ = true;
    return;
  }
  decided_ = true;
  buffered_ = seconds < mapped_seconds_;
}

double ImageWindow::lap() {
  const double end = now(), seconds = end - began_;
  began_ = end, trial_bytes_ = 0;
  return seconds;
}

}  // namespace pars
