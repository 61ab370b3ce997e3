// SPDX-License-Identifier: Apache-2.0
// Where the bytes of a disk lie that has a format of its own, a qcow2 image with its backing files say:
// pieces of files. docs/format.md, "The reader's protocol".
#pragma once
#include <optional>

#include "core/bytes.hh"

namespace pars {

/// A view of a table with 32 bytes a piece, ascending by their place on the disk: that place, length, place
/// in the file, number of the file. Whatever the table holds, looking into it does no harm.
class DiskMap {
 public:
  /// Of a disk that is its only file.
  DiskMap() = default;
  explicit DiskMap(Bytes table) : table_(table) {}

  struct Piece {
    uint64_t offset = 0;  ///< in the file
    uint64_t bytes = 0;   ///< at least one
    uint64_t file = 0;    ///< of the disk's files, from 0
  };
  /// What begins at that place of the disk, at most `bytes` of it; nullopt where no file has it as it is:
  /// compressed, encrypted, or never written.
  std::optional<Piece> at(uint64_t offset, uint64_t bytes) const;

  static constexpr size_t kEntryBytes = 32;

 private:
  uint64_t word(size_t entry, size_t index) const;
  size_t entry_behind(uint64_t offset) const;

  std::optional<Bytes> table_;
};

}  // namespace pars
