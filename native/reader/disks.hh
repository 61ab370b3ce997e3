// SPDX-License-Identifier: Apache-2.0
// The domain's disks that were handed in with the image, and the comparison of what the cache should share
// with them.
#pragma once
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/frames/disk_reference.hh"
#include "core/pages/disk_places.hh"
#include "core/pages/inspection.hh"

namespace pars::reader {

/// Descriptors from kFirstDiskFd on. They may have been opened past the page cache, so all is read by whole,
/// aligned pages.
class Disks {
 public:
  /// `numbers`: of each disk in the manifest, in the order of the descriptors.
  explicit Disks(std::vector<uint16_t> numbers);

  size_t count() const { return numbers_.size(); }
  uint16_t number(size_t disk) const { return numbers_[disk]; }
  /// At most kMaxWindow bytes from there on, good until the next call; nullptr when not all can be read.
  const uint8_t* window(size_t disk, uint64_t offset, uint64_t bytes);
  DiskAccess access();

  static constexpr uint64_t kMaxWindow = 1 << 20;

 private:
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  std::vector<uint16_t> numbers_;
  std::unique_ptr<uint8_t, Free> buffer_;
};

struct Comparison {
  std::vector<PageReference> references;             ///< ascending by payload: equal, every byte
  std::array<uint64_t, kPageClasses> equal_pages{};  ///< the same, by class
  uint64_t cached = 0;                               ///< pages of the cache with payload
  uint64_t placed = 0;                               ///< of which it is known where they should lie
  bool out_of_time = false;                          ///< the disks were too slow: what was left is stored
};

/// Reads the places in the order of the disks and compares. Left out is what is one repeated word, which is
/// stored as one; what lies in the head, which a stub keeps; and what a recovery may write into, which must
/// come back for certain.
Comparison compare_with_disks(Bytes image, uint64_t head_end, PlacedPages placed,
                              const Inspection& inspection, Disks& disks);

}  // namespace pars::reader
