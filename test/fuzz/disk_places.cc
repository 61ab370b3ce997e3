// SPDX-License-Identifier: Apache-2.0
// Where a guest says that its files lie on its disks, in its memory and on the disk itself; and what a store
// gives back as references.
#include <algorithm>
#include <cstdlib>

#include "core/frames/disk_reference.hh"
#include "core/pages/disk_stack.hh"
#include "core/pages/extent_tree.hh"
#include "core/pages/xfs_extents.hh"

using namespace pars;

namespace {

constexpr uint64_t kBudget = 200;
constexpr size_t kNodeBytes = 256;

void references(Bytes input) {
  const auto runs = decode_references(input);
  if (!runs) return;
  const std::vector<uint8_t> again = encode_references(*runs);
  if (!std::equal(again.begin(), again.end(), input.begin(), input.end())) std::abort();
}

/// Nodes are cut from the input one after another, and then from its beginning again.
void extents(Bytes input) {
  Cursor cursor(input);
  const uint32_t bits = cursor.u8() % 24;
  const Bytes root = cursor.bytes(std::min<uint64_t>(kExtentRootBytes, cursor.remaining()));
  const Bytes nodes = input.subspan(cursor.position());
  size_t at = 0;
  uint64_t budget = kBudget, reads = 0;
  const NodeBlocks blocks = [&](uint64_t, const auto& is_node) -> std::optional<std::vector<uint8_t>> {
    if (++reads > kBudget) std::abort();
    if (nodes.empty()) return std::nullopt;
    at = at >= nodes.size() ? 0 : at;
    const Bytes node = nodes.subspan(at, std::min(kNodeBytes, nodes.size() - at));
    at += kNodeBytes;
    return is_node(node) ? std::optional(std::vector<uint8_t>(node.begin(), node.end())) : std::nullopt;
  };
  const auto found = read_extents(root, blocks, budget);
  for (const FileExtent& extent : found)
    for (const uint64_t position :
         {uint64_t{extent.first} << bits, (uint64_t{extent.first} + extent.blocks) << bits})
      (void)device_offset(found, bits, position, 4096);
}

/// Records of a tree of XFS, and a stacked device of some shape.
void places(Bytes input) {
  Cursor cursor(input);
  const XfsBlocks blocks{cursor.le32(), cursor.u8() % 33u};
  DiskStack::Piece piece;
  piece.rule = static_cast<DiskStack::Piece::Rule>(cursor.u8() % 4);
  piece.chunk = cursor.le32(), piece.near_copies = cursor.u8();
  piece.members.resize(cursor.u8());
  while (cursor.ok() && cursor.remaining() >= 16) {
    const uint64_t low = cursor.le64(), high = cursor.le64();
    const auto extent = xfs_extent(low, high, blocks);
    if (extent && blocks.group_blocks == 0) std::abort();
    const auto slot = slot_of(piece, low >> 4);
    if (slot && slot->first >= piece.members.size()) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  references({data, size});
  extents({data, size});
  places({data, size});
  return 0;
}
