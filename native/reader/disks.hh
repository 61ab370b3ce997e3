// SPDX-License-Identifier: Apache-2.0
// The domain's disks that were handed in with the image, and the comparison of what the cache should share
// with them.
#pragma once
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/frames/disk_map.hh"
#include "core/frames/disk_reference.hh"
#include "core/pages/disk_places.hh"
#include "core/pages/inspection.hh"

namespace pars::reader {

/// A disk of the domain's: the file that it is, or the files that its bytes lie in.
struct GivenDisk {
  uint16_t number = 0;  ///< in the manifest
  int first_fd = 0;     ///< the others follow
  int files = 1;
  bool mapped = false;         ///< what lies where comes from the parent
  std::vector<uint8_t> table;  ///< of a mapped one: DiskMap's

  DiskMap map() const { return mapped ? DiskMap(table) : DiskMap(); }
};

/// From the words after the mode: "0" is a file or device that is disk 0, "1:3" disk 1 in three files.
/// Nothing when they are not such words, or tell of more than kMaxDiskFiles files.
std::optional<std::vector<GivenDisk>> given_disks(std::span<char* const> words);
int files_of(const std::vector<GivenDisk>& disks);
/// Takes the tables of mapped disks from the parent; false when it does not send them.
bool receive_tables(std::vector<GivenDisk>& disks);

/// Their files may have been opened past the page cache, so all is read by whole, aligned pages.
class Disks {
 public:
  explicit Disks(std::vector<GivenDisk> given);

  size_t count() const { return given_.size(); }
  uint16_t number(size_t disk) const { return given_[disk].number; }
  /// At most kMaxWindow bytes from there on, good until the next call; nullptr when not all can be read.
  const uint8_t* window(size_t disk, uint64_t offset, uint64_t bytes);
  DiskAccess access();

  static constexpr uint64_t kMaxWindow = 1 << 20;

 private:
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  bool read(const GivenDisk& disk, uint64_t from, uint64_t needed, uint64_t whole);

  std::vector<GivenDisk> given_;
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
