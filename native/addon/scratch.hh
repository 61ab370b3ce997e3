// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace pars::addon {

/// Memory for decompressed frames, used again and again: megabytes fresh from the system cost more than what
/// is done in them.
class Scratch {
 public:
  ~Scratch() {
    if (!memory_.bytes) return;
    std::lock_guard lock(mutex_);
    if (idle_.size() < kKept) idle_.push_back(std::move(memory_));
  }

  /// At least `size` bytes, of any content.
  uint8_t* take(size_t size) {
    {
      std::lock_guard lock(mutex_);
      if (!idle_.empty()) memory_ = std::move(idle_.back()), idle_.pop_back();
    }
    if (memory_.size < size) memory_ = {std::unique_ptr<uint8_t[]>(new uint8_t[size]), size};
    return memory_.bytes.get();
  }

 private:
  struct Memory {
    std::unique_ptr<uint8_t[]> bytes;
    size_t size = 0;
  };
  static constexpr size_t kKept = 4;
  static inline std::mutex mutex_;
  static inline std::vector<Memory> idle_;
  Memory memory_;
};

}  // namespace pars::addon
