// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/file_system_types.hh"

#include "core/kernel/known_members.hh"

namespace pars {

namespace {

/// Offsets of fields that must have these sizes; `whole` turns false when one is missing or has another.
class Fields {
 public:
  explicit Fields(const Btf& btf) : btf_(btf) {}
  uint32_t at(const char* type, const char* path, uint32_t bytes) {
    const auto m = btf_.member(type, path);
    whole = whole && m && m->bytes == bytes;
    return m ? m->offset : 0;
  }
  uint32_t start(const char* type, const char* path) {
    const auto m = btf_.member(type, path);
    whole = whole && m.has_value();
    return m ? m->offset : 0;
  }
  bool whole = true;

 private:
  const Btf& btf_;
};

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
  const XfsLayout layout{f.start("xfs_inode", "i_vnode"), f.at("xfs_inode", "i_diflags", 2)};
  return f.whole ? std::optional(layout) : std::nullopt;
}

std::optional<Ext4Layout> ext4_layout(const Btf& btf) {
  Fields f(btf);
  const Ext4Layout layout{f.start("ext4_inode_info", "vfs_inode"), f.start("ext4_inode_info", "i_data")};
  return f.whole ? std::optional(layout) : std::nullopt;
}

}  // namespace

FileSystemTypes resolve_file_system(const Btf& btf) {
  return {btrfs_layout(btf), xfs_layout(btf), ext4_layout(btf)};
}

}  // namespace pars
