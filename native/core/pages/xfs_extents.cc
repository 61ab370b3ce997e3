// SPDX-License-Identifier: Apache-2.0
#include "core/pages/xfs_extents.hh"

#include <algorithm>

namespace pars {
namespace {

constexpr uint32_t kFirstBits = 54, kLengthBits = 21, kStartLowBits = 10;
constexpr uint32_t kUnwritten = kLengthBits, kStartHighAt = kLengthBits + 1;
constexpr uint64_t kMaxBlock = 1ull << 48;  // what is delayed has a start past it
constexpr uint64_t kNodeEntries = 16, kLeafRecords = 15, kRecordBytes = 16;
constexpr uint32_t kMaxHeight = 8;

constexpr uint64_t low_bits(uint32_t bits) { return (1ull << bits) - 1; }

class Reader {
 public:
  Reader(const KernelMemory& memory, const XfsBlocks& blocks, uint64_t& budget)
      : memory_(memory), blocks_(blocks), budget_(budget) {}

  void node(uint64_t at, uint32_t height, uint64_t records) {
    if (at == 0 || budget_ == 0) return;
    budget_--;
    if (height == 1) return leaf(at, records);
    for (uint64_t i = 0; i < kNodeEntries; i++) {
      const auto child = memory_.u64(at + (kNodeEntries + i) * 8);
      if (!child || *child == 0) return;
      node(*child, height - 1, kLeafRecords);
    }
  }
  std::vector<FileExtent> take() { return std::move(found_); }

 private:
  /// A root that is a leaf may be shorter than one.
  void leaf(uint64_t at, uint64_t records) {
    for (uint64_t i = 0; i < records; i++) {
      const auto low = memory_.u64(at + i * kRecordBytes), high = memory_.u64(at + i * kRecordBytes + 8);
      if (!low || !high || (*high & low_bits(kLengthBits)) == 0) return;
      const auto extent = xfs_extent(*low, *high, blocks_);
      const bool follows = found_.empty() || (extent && extent->first > found_.back().first);
      if (extent && follows) found_.push_back(*extent);
    }
  }

  const KernelMemory& memory_;
  const XfsBlocks blocks_;
  uint64_t& budget_;
  std::vector<FileExtent> found_;
};

}  // namespace

std::optional<FileExtent> xfs_extent(uint64_t low, uint64_t high, const XfsBlocks& blocks) {
  const uint64_t first = low & low_bits(kFirstBits), length = high & low_bits(kLengthBits);
  const uint64_t start = low >> kFirstBits | high >> kStartHighAt << kStartLowBits;
  const bool written = !(high >> kUnwritten & 1);
  if (!written || length == 0 || first > UINT32_MAX || start >= kMaxBlock) return std::nullopt;
  const uint64_t group = start >> blocks.group_bits, within = start & low_bits(blocks.group_bits);
  if (within >= blocks.group_blocks) return std::nullopt;
  return FileExtent{static_cast<uint32_t>(first), static_cast<uint32_t>(length),
                    group * blocks.group_blocks + within};
}

std::vector<FileExtent> read_xfs_extents(const KernelMemory& memory, const XfsForkLayout& layout,
                                         uint64_t xfs_inode, uint64_t& budget) {
  const auto mount = memory.u64(xfs_inode + layout.mount);
  const auto group_blocks = mount ? memory.u32(*mount + layout.group_blocks) : std::nullopt;
  const auto group_bits = mount ? memory.u8(*mount + layout.group_bits) : std::nullopt;
  const auto root = memory.u64(xfs_inode + layout.root), bytes = memory.u64(xfs_inode + layout.bytes);
  const auto height = memory.u32(xfs_inode + layout.height);
  if (!group_blocks || !group_bits || *group_bits > 32 || !root || !bytes || !height || *height == 0 ||
      *height > kMaxHeight)
    return {};
  Reader reader(memory, {*group_blocks, *group_bits}, budget);
  reader.node(*root, *height, std::min(*bytes / kRecordBytes, kLeafRecords));
  return reader.take();
}

}  // namespace pars
