// SPDX-License-Identifier: Apache-2.0
// Where on a disk of the machine's a byte of a stacked device lies, as the drivers of dm, md and loop say. A
// guess, like every place (core/pages/disk_places.hh): nothing is proven here, and what is told by no plain
// offset (crypt, thin) has no place.
#pragma once
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/kernel/stacked_types.hh"
#include "core/pages/reading_view.hh"

namespace pars {

/// A byte of a disk that stands on nothing.
struct DiskByte {
  uint64_t disk = 0;  ///< gendisk
  uint64_t offset = 0;
};

class DiskStack {
 public:
  /// Where a file's byte lies, asked for the file of a loop device.
  using FileByte = std::function<std::optional<DiskByte>(uint64_t mapping, uint64_t position)>;

  DiskStack(const ReadingView& view, FileByte file_byte)
      : memory_(view.memory),
        cache_(*view.layout.cache),
        modules_(view.modules),
        file_byte_(std::move(file_byte)) {}

  /// Of a block_device, from its own beginning.
  std::optional<DiskByte> below(uint64_t block_device, uint64_t offset);
  /// Where one begins that lies on its disk in one piece.
  std::optional<DiskByte> plain(uint64_t block_device);

  struct Member {
    uint64_t device = 0;  ///< block_device
    uint64_t start = 0;   ///< bytes of it that come before
    uint32_t slot = 0;
  };
  /// A stretch of a stacked device whose bytes lie on its members by one rule.
  struct Piece {
    enum class Rule : uint8_t { copies, chunks, raid10, raid5 } rule = Rule::copies;
    uint64_t first = 0, end = 0;  ///< bytes of the stacked device
    uint64_t chunk = 0;
    uint32_t near_copies = 1;
    std::vector<Member> members;
  };

 private:
  struct Layer {
    bool is_plain = false;
    uint64_t file = 0;  ///< mapping of a loop device's file
    uint64_t file_start = 0;
    std::vector<Piece> pieces;
  };

  std::optional<DiskByte> below(const Piece& piece, uint64_t at);
  const Layer* layer_of(uint64_t disk);
  Layer look(uint64_t disk);
  Layer look_dm(const Btf& types, uint64_t disk);
  void take_target(const Btf& types, const DmTargets& dm, uint64_t target, Layer& out);
  std::optional<Member> member_of(const DmTargets& dm, uint64_t dev_field, uint64_t start_field) const;
  void take_striped(const Btf& types, const DmTargets& dm, uint64_t context, Piece piece, Layer& out) const;
  std::optional<Piece> array(const ArrayPlaces& md, uint64_t mddev) const;
  Layer look_loop(const Btf& types, uint64_t disk) const;
  std::optional<uint64_t> sectors(uint64_t at) const;

  const KernelMemory& memory_;
  const CacheLayout& cache_;
  ModuleTypes& modules_;
  FileByte file_byte_;
  std::unordered_map<uint64_t, Layer> layers_;  // by gendisk
  uint32_t depth_ = 0;
};

/// Which member of a piece has the byte, and where on that member's data; exposed for tests.
std::optional<std::pair<uint32_t, uint64_t>> slot_of(const DiskStack::Piece& piece, uint64_t position);

}  // namespace pars
