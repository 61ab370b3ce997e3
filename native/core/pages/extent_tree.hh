// SPDX-License-Identifier: Apache-2.0
// The extents of an ext4 file, from the root in its inode through index blocks. Source: Linux
// fs/ext4/ext4_extents.h.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "core/bytes.hh"

namespace pars {

/// Blocks of a file that lie one after another on its device. None is unwritten.
struct FileExtent {
  uint32_t first = 0;  ///< block of the file
  uint32_t blocks = 0;
  uint64_t start = 0;  ///< block of the device
};

/// The bytes of a block of the file system that holds a node; what does not pass `is_node` is not what was
/// asked for.
using NodeBlocks = std::function<std::optional<std::vector<uint8_t>>(
    uint64_t block, const std::function<bool(Bytes)>& is_node)>;

inline constexpr uint16_t kExtentMagic = 0xf30a;  ///< EXT4_EXT_MAGIC, first in a node
inline constexpr size_t kExtentRootBytes = 60;    ///< EXT4_N_BLOCKS words

/// What can be found of a file's extents, in the order of its blocks; none when `root` is not the root of a
/// tree. A part that cannot be read is left out. `budget`: nodes that may still be read, counted down.
std::vector<FileExtent> read_extents(Bytes root, const NodeBlocks& blocks, uint64_t& budget);

/// Where on its device byte `position` of the file lies, when `bytes` from there on lie in one piece.
std::optional<uint64_t> device_offset(const std::vector<FileExtent>& extents, uint32_t block_bits,
                                      uint64_t position, uint64_t bytes);

}  // namespace pars
