// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/file_system_types.hh"

#include "core/kernel/fields.hh"
#include "core/kernel/known_members.hh"

namespace pars {

namespace {

// Linux fs/xfs/xfs_mount.h: XFS_OPSTATE_SHUTDOWN is bit 2 from 5.15 to 7.0; XFS_MOUNT_FS_SHUTDOWN was bit 4.
constexpr uint64_t kXfsShutDown = 1 << 2, kXfsMountShutDown = 1 << 4;

/// The four bitmaps of Linux 7.2. Those before had others, and are not proven.
std::optional<BtrfsStateLayout> btrfs_state(const Btf& btf) {
  const auto number = [&](const char* name) { return btf.enumerator("", name); };
  const auto uptodate = number("btrfs_bitmap_nr_uptodate"), maps = number("btrfs_bitmap_nr_max");
  for (const char* other : {"btrfs_bitmap_nr_dirty", "btrfs_bitmap_nr_writeback", "btrfs_bitmap_nr_fixup"})
    if (!number(other)) return std::nullopt;
  if (!uptodate || maps != 4 || *uptodate < 0 || *uptodate >= *maps) return std::nullopt;
  Fields f(btf);
  const char* type = "btrfs_folio_state";
  const BtrfsStateLayout layout{f.at(type, "lock", 4), f.at(type, "nr_locked", 4), f.start(type, "bitmaps"),
                                static_cast<uint32_t>(*uptodate), static_cast<uint32_t>(*maps)};
  return f.whole ? std::optional(layout) : std::nullopt;
}

std::optional<BtrfsLayout> btrfs_layout(const Btf& btf) {
  Fields f(btf);
  BtrfsLayout layout{f.start("btrfs_inode", "vfs_inode"),
                     f.at("btrfs_inode", "root", 8),
                     f.at("btrfs_root", "root_key.objectid", 8),
                     {},
                     {}};
  if (!f.whole) return std::nullopt;
  // Before Linux 6.1 the extent state remembers what is up to date, and a page that is not is not read again
  // where it says so (52b029f42751).
  if (!btf.struct_size("extent_io_tree") || !btf.member("extent_io_tree", "track_uptodate").is_absent())
    return std::nullopt;
  layout.state = btrfs_state(btf);
  layout.unknown_member = unknown_btrfs_member(btf).value_or("");
  return layout;
}

std::optional<XfsLayout> xfs_layout(const Btf& btf) {
  Fields f(btf);
  const bool states = f.has("xfs_mount", "m_opstate");
  const XfsLayout layout{
      f.start("xfs_inode", "i_vnode"), f.at("xfs_inode", "i_diflags", 2), f.pointer("xfs_mount", "m_super"),
      f.at("xfs_mount", states ? "m_opstate" : "m_flags", 8), states ? kXfsShutDown : kXfsMountShutDown};
  return f.whole ? std::optional(layout) : std::nullopt;
}

std::optional<Ext4Health> ext4_health(const Btf& btf) {
  Fields f(btf);
  const Ext4Health layout{f.pointer("ext4_sb_info", "s_sb"), f.at("ext4_sb_info", "s_ext4_flags", 8),
                          f.at("ext4_sb_info", "s_mount_state", 2)};
  return f.whole ? std::optional(layout) : std::nullopt;
}

std::optional<Ext4Layout> ext4_layout(const Btf& btf) {
  Fields f(btf);
  const Ext4Layout layout{f.start("ext4_inode_info", "vfs_inode"), f.start("ext4_inode_info", "i_data")};
  return f.whole ? std::optional(layout) : std::nullopt;
}

}  // namespace

FileSystemTypes resolve_file_system(const Btf& btf) {
  return {btrfs_layout(btf), xfs_layout(btf), ext4_layout(btf), ext4_health(btf)};
}

/// The tree's root has another name up to Linux 6.7.
std::optional<XfsForkLayout> resolve_xfs_fork(const Btf& btf) {
  Fields f(btf);
  const bool plain = f.has("xfs_ifork", "if_data");
  const uint32_t fork = f.start("xfs_inode", "i_df");
  XfsForkLayout x{};
  x.inode = f.start("xfs_inode", "i_vnode"), x.mount = f.pointer("xfs_inode", "i_mount");
  x.root = fork + f.pointer("xfs_ifork", plain ? "if_data" : "if_u1.if_root");
  x.bytes = fork + f.at("xfs_ifork", "if_bytes", 8), x.height = fork + f.at("xfs_ifork", "if_height", 4);
  x.group_blocks = f.at("xfs_mount", "m_sb.sb_agblocks", 4);
  x.group_bits = f.at("xfs_mount", "m_sb.sb_agblklog", 1);
  return f.whole ? std::optional(x) : std::nullopt;
}

}  // namespace pars
