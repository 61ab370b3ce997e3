// SPDX-License-Identifier: Apache-2.0
// What a file system's own structures tell of a file or a folio: by name from the BTF that has them
// (core/module_types.hh).
#pragma once
#include <optional>
#include <string>

#include "core/kernel/btf.hh"

namespace pars {

/// Bits of inode.i_mode: ABI (Linux include/uapi/linux/stat.h).
inline constexpr uint16_t kFileTypeMask = 0xf000, kRegularFile = 0x8000, kBlockDevice = 0x6000;
/// Blocks of 64 KiB are the largest of any file system that is followed.
inline constexpr uint32_t kMaxBlockBits = 16;

/// struct btrfs_folio_state, the private state of btrfs's folios of several blocks.
struct BtrfsStateLayout {
  uint32_t lock, locked;  ///< a spinlock, and how many blocks are locked
  uint32_t bitmaps;       ///< one after the other, a bit a block each
  uint32_t uptodate;      ///< which of them says that a block's contents are there
  uint32_t maps;          ///< how many there are
};

struct BtrfsLayout {
  uint32_t inode;          ///< btrfs_inode.vfs_inode
  uint32_t root, root_id;  ///< btrfs_inode.root, btrfs_root.root_key.objectid
  std::optional<BtrfsStateLayout> state;
  std::string unknown_member;  ///< of its folio states, one never met; or empty
};

struct XfsLayout {
  uint32_t inode;      ///< xfs_inode.i_vnode
  uint32_t flags;      ///< xfs_inode.i_diflags
  uint32_t super;      ///< xfs_mount.m_super
  uint32_t state;      ///< xfs_mount.m_opstate, or .m_flags as it was before 5.15
  uint64_t shut_down;  ///< bit of it
};

/// Where the extents of an XFS file are in memory. Nothing is proven by it.
struct XfsForkLayout {
  uint32_t inode, mount;              ///< xfs_inode.i_vnode, .i_mount
  uint32_t root, bytes, height;       ///< of its data fork, within the xfs_inode
  uint32_t group_blocks, group_bits;  ///< within the xfs_mount
};

struct Ext4Layout {
  uint32_t inode;  ///< ext4_inode_info.vfs_inode
  uint32_t data;   ///< ext4_inode_info.i_data, the root of its extents
};

/// Whether an ext4 has failed.
struct Ext4Health {
  uint32_t super;  ///< ext4_sb_info.s_sb
  uint32_t flags;  ///< ext4_sb_info.s_ext4_flags
  uint32_t state;  ///< ext4_sb_info.s_mount_state
};

/// Each is nothing when the BTF lacks any of it.
struct FileSystemTypes {
  std::optional<BtrfsLayout> btrfs;
  std::optional<XfsLayout> xfs;
  std::optional<Ext4Layout> ext4;
  std::optional<Ext4Health> ext4_health;
};

FileSystemTypes resolve_file_system(const Btf& btf);
std::optional<XfsForkLayout> resolve_xfs_fork(const Btf& btf);

}  // namespace pars
