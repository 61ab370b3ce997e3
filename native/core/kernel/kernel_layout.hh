// SPDX-License-Identifier: Apache-2.0
// Where the fields of this kernel's structures lie. Every one by name from its BTF, never by kernel version:
// distributions backport.
#pragma once
#include <optional>
#include <string>

#include "core/believed.hh"
#include "core/kernel/btf.hh"
#include "core/kernel/device_layout.hh"
#include "core/kernel/vmcoreinfo.hh"

namespace pars {

/// Of struct page; another size is not read.
inline constexpr uint32_t kStructPageBytes = 64;

/// How a page type is told from the 32-bit word that `_mapcount` and `page_type` share.
/// Up to Linux 6.10 one inverted bit (VMCOREINFO has the whole word), since 6.12 a number in the top byte
/// (commit 4ffca5a96678).
struct TypeMark {
  uint32_t mask = 0;  ///< 0: unknown to this kernel, matches nothing
  uint32_t value = 0;
  bool matches(uint32_t word) const { return mask != 0 && (word & mask) == value; }
};

/// Bit masks in page.flags; 0 when this kernel has no such flag.
struct PageFlags {
  uint64_t locked, uptodate, dirty, lru, head, writeback, reserved, private_data, swapbacked, unevictable;
  uint64_t swapcache = 0, mlocked = 0, hwpoison = 0, private_2 = 0, error = 0, checked = 0, slab = 0;
  uint64_t has_hwpoisoned = 0;  ///< of a large folio's second struct page
};

struct PageLayout {
  uint32_t bytes;
  uint32_t flags, refcount, mapcount, mapping, index, private_data, list;
  uint32_t compound;                       ///< bit 0 set in tails; else a head pointer or a mask (since 7.1)
  uint32_t order_at;                       ///< byte, from the head's first byte, that holds a folio's order
  std::optional<uint32_t> large_mapcount;  ///< from the head's first byte
  std::optional<uint32_t> entire_mapcount;
  PageFlags flag;
  TypeMark buddy, offline, table, slab, hugetlb;
};

struct ZoneLayout {
  uint32_t node_zones, zone_bytes, zones;        ///< in pglist_data
  uint32_t start_pfn, spanned_pages, free_area;  ///< in zone
  uint32_t free_area_bytes, orders, nr_free, lists;
};

/// How to find every block device and who holds it.
struct BlockDevicesLayout {
  uint32_t holder;                         ///< block_device.bd_holder
  uint32_t sb_inodes, inode_link;          ///< the list of a super block's inodes
  uint32_t sb_list;                        ///< super_block.s_list: all of them
  uint32_t device_in_pair, inode_in_pair;  ///< bdev_inode: a block device and its inode lie together
};

/// What the proof of a page-cache folio reads.
struct CacheLayout {
  uint32_t mapping_flags, mapping_host, mapping_pages, mapping_wb_err;
  std::optional<uint32_t> mapping_nr_thps;
  bool folios = false;                           ///< the kernel has struct folio (since 5.16)
  std::string unknown_member;                    ///< one never met, beside those that prove a page; or empty
  bool delete_seqcnt = false;                    ///< address_space has i_pages_delete_seqcnt (R14)
  uint32_t node_shift, node_slots, node_fanout;  ///< xa_node
  uint32_t inode_mode, inode_flags, inode_sb, inode_data, inode_block_bits;
  uint32_t sb_type, sb_bdev, sb_info, sb_wb_err;  ///< super_block.s_type, s_bdev, s_fs_info, s_wb_err
  uint32_t fs_name, bdev_disk, disk_name;
  uint64_t as_eio, as_enospc, as_unevictable;
  uint64_t as_inaccessible = 0;
  uint64_t as_large_folios = 0;                ///< declares large folios, 5.18 to 6.11
  std::optional<uint32_t> as_order_max_shift;  ///< or how large, since 6.12 (5 bits)
  std::optional<BlockDevicesLayout> devices;
  std::optional<uint32_t> bdev_start;  ///< block_device.bd_start_sect (since 5.11)
  std::optional<DiskLayout> disks;
  std::optional<uint32_t> file_mapping;  ///< file.f_mapping
};

/// struct buffer_head, the private state of ext4's folios.
struct BufferHeadLayout {
  uint32_t state, this_page, folio, size, data, private_data, association, count, lock;
  uint64_t uptodate;  ///< bit of b_state
  uint64_t idle;      ///< the bits that a clean buffer which nobody uses may have
};

/// struct iomap_folio_state (up to 6.5 iomap_page), the private state of XFS's folios.
struct IomapLayout {
  uint32_t read_pending, write_pending, lock;
  uint32_t state;   ///< bitmap: a bit a block, up to date
  bool dirty_bits;  ///< after those, a bit a block: dirty
};

/// What `folio->private` can point to. On a kernel without folios buffer heads alone are proven.
struct PrivateLayout {
  bool folios = false;
  std::optional<BufferHeadLayout> buffer_head;
  std::optional<IomapLayout> iomap;
};
/// What tells a file's name and size to people. No class hangs on it.
struct NameLayout {
  uint32_t inode_number, inode_bytes, inode_dentries;  ///< i_ino, i_size, i_dentry.first
  uint32_t dentry_alias, dentry_parent, dentry_name;   ///< d_u.d_alias, d_parent, d_name.name
  uint32_t sb_id, sb_root;                             ///< s_id ("vda1"), s_root
};
/// nullopt when this kernel's BTF lacks any of it: then files have no names.
std::optional<NameLayout> resolve_names(const Btf& btf);

struct SectionLayout {
  uint32_t section_bytes, section_mem_map;
};

struct KernelLayout {
  PageLayout page;
  ZoneLayout zone;
  SectionLayout section;
  std::optional<CacheLayout> cache;
  PrivateLayout private_state;
  std::optional<NameLayout> names;
  std::string cache_problem;  ///< what is missing for clean-cache, when `cache` is empty
};

/// All that the types tell by themselves, for every VMCOREINFO that claims them. Page types that only that
/// tells are still unknown.
Believed<KernelLayout> layout_of_types(const Btf& btf);
/// The same with what this VMCOREINFO adds to it, which costs no look at the types: a guest holds thousands.
Believed<KernelLayout> with_note(const KernelLayout& of_types, const Vmcoreinfo& info);

}  // namespace pars
