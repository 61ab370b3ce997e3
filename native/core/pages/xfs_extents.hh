// SPDX-License-Identifier: Apache-2.0
// The extents of an XFS file, from the tree that its inode in memory keeps of them. Source: Linux
// fs/xfs/libxfs/xfs_iext_tree.c, xfs_inode_fork.h.
#pragma once
#include <optional>
#include <vector>

#include "core/kernel/file_system_types.hh"
#include "core/kernel/kernel_memory.hh"
#include "core/pages/extent_tree.hh"

namespace pars {

/// How a file system numbers its blocks: by allocation group.
struct XfsBlocks {
  uint64_t group_blocks = 0;
  uint32_t group_bits = 0;
};

/// One record of a leaf; none when it is not a stretch of written blocks.
std::optional<FileExtent> xfs_extent(uint64_t low, uint64_t high, const XfsBlocks& blocks);

/// What can be read of a file's tree, in the order of its blocks. `budget`: nodes that may still be read,
/// counted down.
std::vector<FileExtent> read_xfs_extents(const KernelMemory& memory, const XfsForkLayout& layout,
                                         uint64_t xfs_inode, uint64_t& budget);

}  // namespace pars
