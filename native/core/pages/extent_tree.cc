// SPDX-License-Identifier: Apache-2.0
#include "core/pages/extent_tree.hh"

#include <algorithm>

#include "core/kernel/file_system_types.hh"

namespace pars {
namespace {

constexpr uint16_t kMaxTreeDepth = 5;  // EXT4_MAX_EXTENT_DEPTH
constexpr size_t kNodeHeaderBytes = 12, kEntryBytes = 12;
constexpr uint32_t kMaxInitialised = 32768;  // EXT_INIT_MAX_LEN: longer ones are unwritten

struct Node {
  uint16_t entries = 0, depth = 0;
  Bytes bytes;
  const uint8_t* entry(uint32_t i) const { return bytes.data() + kNodeHeaderBytes + i * kEntryBytes; }
};

std::optional<Node> parse_node(Bytes bytes) {
  if (bytes.size() < kNodeHeaderBytes || load_le<uint16_t>(bytes.data()) != kExtentMagic) return std::nullopt;
  const Node node{load_le<uint16_t>(&bytes[2]), load_le<uint16_t>(&bytes[6]), bytes};
  const uint16_t most = load_le<uint16_t>(&bytes[4]);
  if (node.entries > most || most > (bytes.size() - kNodeHeaderBytes) / kEntryBytes ||
      node.depth > kMaxTreeDepth)
    return std::nullopt;
  return node;
}

void take_leaf(const Node& node, std::vector<FileExtent>& out) {
  for (uint32_t i = 0; i < node.entries; i++) {
    const uint8_t* e = node.entry(i);
    const uint32_t blocks = load_le<uint16_t>(e + 4);
    const uint64_t start = uint64_t{load_le<uint16_t>(e + 6)} << 32 | load_le<uint32_t>(e + 8);
    if (blocks > 0 && blocks <= kMaxInitialised) out.push_back({load_le<uint32_t>(e), blocks, start});
  }
}

/// Depth falls by one from node to child, so there is an end; how many are read, the budget bounds.
void take_node(const Node& node, const NodeBlocks& blocks, uint64_t& budget, std::vector<FileExtent>& out) {
  if (node.depth == 0) return take_leaf(node, out);
  for (uint32_t i = 0; i < node.entries && budget > 0; i++) {
    const uint8_t* e = node.entry(i);
    const uint32_t first = load_le<uint32_t>(e);
    const uint64_t block = uint64_t{load_le<uint16_t>(e + 8)} << 32 | load_le<uint32_t>(e + 4);
    const auto is_child = [&](Bytes bytes) {
      const auto child = parse_node(bytes);
      return child && child->depth + 1 == node.depth && child->entries > 0 &&
             load_le<uint32_t>(child->entry(0)) >= first;
    };
    budget--;
    const auto bytes = blocks(block, is_child);
    if (bytes && is_child(*bytes)) take_node(*parse_node(*bytes), blocks, budget, out);
  }
}

}  // namespace

std::vector<FileExtent> read_extents(Bytes root, const NodeBlocks& blocks, uint64_t& budget) {
  std::vector<FileExtent> extents;
  if (const auto node = parse_node(root)) take_node(*node, blocks, budget, extents);
  std::sort(extents.begin(), extents.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return extents;
}

std::optional<uint64_t> device_offset(const std::vector<FileExtent>& extents, uint32_t block_bits,
                                      uint64_t position, uint64_t bytes) {
  if (block_bits > kMaxBlockBits || position >> block_bits > UINT32_MAX || bytes == 0) return std::nullopt;
  const auto block = static_cast<uint32_t>(position >> block_bits);
  auto at = std::upper_bound(extents.begin(), extents.end(), block,
                             [](uint32_t b, const FileExtent& e) { return b < e.first; });
  if (at == extents.begin()) return std::nullopt;
  --at;
  if (block - at->first >= at->blocks) return std::nullopt;
  const uint64_t found =
      ((at->start + (block - at->first)) << block_bits) + (position & ((1ull << block_bits) - 1));
  // The rest may go on in extents that follow on the device as well.
  uint64_t next = uint64_t{at->first} + at->blocks, start = at->start + at->blocks;
  while (next << block_bits < position + bytes) {
    if (++at == extents.end() || at->first != next || at->start != start) return std::nullopt;
    next += at->blocks, start += at->blocks;
  }
  return found;
}

}  // namespace pars
