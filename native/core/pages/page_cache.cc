// SPDX-License-Identifier: Apache-2.0
#include "core/pages/page_cache.hh"

#include <algorithm>
#include <string_view>

namespace pars {

namespace {

// Linux include/uapi/linux/stat.h, include/linux/fs.h: these values are ABI or have not moved since 4.x.
constexpr uint16_t kFileTypeMask = 0xf000, kRegularFile = 0x8000;
constexpr uint32_t kSwapFile = 1 << 8, kDax = 1 << 13, kEncrypted = 1 << 14, kVerity = 1 << 16;

/// File systems whose clean pages a running guest was seen to re-read, and what they keep behind
/// folio->private.
constexpr std::pair<std::string_view, PrivateKind> kProvenFileSystems[] = {
    {"ext4", PrivateKind::buffer_heads},
    {"xfs", PrivateKind::iomap},
    {"squashfs", PrivateKind::none},
    {"btrfs", PrivateKind::btrfs}};

// xarray entries (Linux include/linux/xarray.h): low bits 10 are internal (small ones siblings, others
// nodes), bit 0 values.
constexpr uint64_t kInternal = 2, kEntryBits = 3, kLastSmallInternal = 4096;

/// No tree of a guest can have more nodes than fit into its memory.
constexpr uint64_t kNodesPerPage = 8;

constexpr uint64_t kMaxBlockDevices = 1 << 16, kMaxSuperBlocks = 1 << 14;
constexpr uint32_t kErrorNumber = 0xfff, kNoSpace = 28;  // Linux lib/errseq.c: above lie a counter and a mark
constexpr size_t kMaxFileSystemTypes = 1 << 8;

// On disk: Linux include/uapi/linux/btrfs_tree.h (BTRFS_FS_TREE_OBJECTID, BTRFS_FIRST_FREE_OBJECTID,
// BTRFS_LAST_FREE_OBJECTID), fs/xfs/libxfs/xfs_format.h (XFS_DIFLAG_REALTIME).
constexpr uint64_t kBtrfsFileTree = 5, kBtrfsFirstSubvolume = 256, kBtrfsLastSubvolume = -256ull;
constexpr uint16_t kXfsRealtime = 1;
// Linux fs/ext4/ext4.h: EXT4_FLAGS_SHUTDOWN is bit 1 since 4.11; EXT4_ERROR_FS is on the disk.
constexpr uint64_t kExt4ShutDown = 1 << 1;
constexpr uint16_t kExt4Error = 1 << 1;
constexpr uint64_t kMappingBits = 3;  // of page.mapping: not a file

CachedFile doubtful(Reason why) {
  CachedFile file;
  file.doubt = why;
  return file;
}

}  // namespace

PageCache::PageCache(const KernelMemory& memory, const CacheLayout& layout, const PageArray& array,
                     ModuleTypes& modules, SegmentProofs& proofs)
    : memory_(memory),
      layout_(layout),
      array_(array),
      modules_(modules),
      disks_(memory, layout, modules, [this](uint64_t mapping) { return judge_backing(mapping); }),
      unknown_member_(layout.unknown_member),
      in_tree_(array.end(), false),
      proofs_(proofs),
      nodes_left_(array.end() * kNodesPerPage) {}

const CachedFile& PageCache::file(uint64_t mapping) {
  auto [at, fresh] = files_.try_emplace(mapping);
  if (fresh) {
    const CachedFile judged = judge(mapping);
    if (!judged.doubt) walk_tree(mapping);
    at->second = judged;
  }
  return at->second;
}

CachedFile PageCache::judge(uint64_t mapping) {
  if (layout_.delete_seqcnt) return doubtful(Reason::delete_seqcnt);
  if (!layout_.unknown_member.empty()) return doubtful(Reason::unknown_member);
  auto flags = memory_.u64(mapping + layout_.mapping_flags);
  auto host = memory_.u64(mapping + layout_.mapping_host);
  auto wb_err = memory_.u32(mapping + layout_.mapping_wb_err);
  if (!flags || !host || !wb_err) return doubtful(Reason::file_unreadable);
  if (*wb_err != 0 || (*flags & (layout_.as_eio | layout_.as_enospc)))
    return doubtful(Reason::write_back_error);
  if (*flags & (layout_.as_unevictable | layout_.as_inaccessible)) return doubtful(Reason::pinned_mapping);
  if (layout_.mapping_nr_thps && memory_.u32(mapping + *layout_.mapping_nr_thps) != 0u)
    return doubtful(Reason::read_only_thp);
  CachedFile file;
  if (layout_.as_order_max_shift) file.max_order = *flags >> *layout_.as_order_max_shift & 31;
  else if (*flags & layout_.as_large_folios) file.max_order = 63;
  file.doubt = judge_inode(mapping, *host, file);
  return file;
}

std::optional<Reason> PageCache::judge_inode(uint64_t mapping, uint64_t host, CachedFile& file) {
  auto mode = memory_.u16(host + layout_.inode_mode);
  auto flags = memory_.u32(host + layout_.inode_flags);
  auto sb = memory_.u64(host + layout_.inode_sb);
  auto block_bits = memory_.u8(host + layout_.inode_block_bits);
  if (!mode || !flags || !sb || !block_bits) return Reason::file_unreadable;
  file.block_bits = *block_bits;
  if ((*mode & kFileTypeMask) != kRegularFile) return Reason::not_regular;
  if (host + layout_.inode_data != mapping) return Reason::file_unreadable;
  if (*flags & (kSwapFile | kDax | kEncrypted | kVerity)) return Reason::inode_flags;
  return judge_super_block(host, *sb, file);
}

std::optional<Reason> PageCache::judge_super_block(uint64_t host, uint64_t sb, CachedFile& file) {
  const auto name = file_system_name(sb);
  if (!name) return Reason::file_unreadable;
  const auto kind = proven_kind(*name);
  if (!kind) return Reason::file_system;
  file.private_kind = *kind;
  const auto doubt = judge_store(sb, *kind);
  return doubt ? doubt : judge_kind(host, sb, file);
}

std::optional<PrivateKind> PageCache::proven_kind(std::string_view name) {
  for (const auto& [proven, kind] : kProvenFileSystems)
    if (name == proven) return kind;
  return std::nullopt;
}

/// Whether a file system of a proven kind can read again what it has read: its disks are there, and it has
/// not failed.
std::optional<Reason> PageCache::judge_store(uint64_t sb, PrivateKind kind) {
  const bool btrfs = kind == PrivateKind::btrfs;
  const auto doubt = btrfs ? judge_btrfs(sb, *memory_.u64(sb + layout_.sb_type)) : judge_block_device(sb);
  return doubt ? doubt : judge_health(sb);
}

/// A file that a loop device reads: on any proven file system.
std::optional<Reason> PageCache::judge_backing(uint64_t mapping) {
  const auto host = memory_.u64(mapping + layout_.mapping_host);
  const auto sb = host ? memory_.u64(*host + layout_.inode_sb) : std::nullopt;
  const auto name = sb ? file_system_name(*sb) : std::nullopt;
  if (!name || memory_.u32(mapping + layout_.mapping_wb_err) != 0u || *host + layout_.inode_data != mapping)
    return Reason::disk_stack;
  if ((memory_.u16(*host + layout_.inode_mode).value_or(0) & kFileTypeMask) != kRegularFile)
    return Reason::disk_stack;
  const auto kind = proven_kind(*name);
  return kind && !judge_store(*sb, *kind) ? std::nullopt : std::optional(Reason::disk_stack);
}

/// After an error what is clean may be newer than the disk, and after a shutdown nothing is read any more.
/// What a file could not write for want of space is told by its own mapping.
std::optional<Reason> PageCache::judge_health(uint64_t sb) {
  const auto error = memory_.u32(sb + layout_.sb_wb_err);
  const auto info = memory_.u64(sb + layout_.sb_info);
  if (!error || !info) return Reason::file_unreadable;
  if ((*error & kErrorNumber) != 0 && (*error & kErrorNumber) != kNoSpace) return Reason::file_system_failed;
  const FileSystemTypes& own = own_types(sb);
  const auto name = file_system_name(sb);
  if (own.xfs && name == "xfs") {
    const auto state = memory_.u64(*info + own.xfs->state);
    if (!state || memory_.u64(*info + own.xfs->super) != sb) return Reason::file_unreadable;
    if (*state & own.xfs->shut_down) return Reason::file_system_failed;
  }
  if (own.ext4_health && name && name->starts_with("ext")) {
    const auto flags = memory_.u64(*info + own.ext4_health->flags);
    const auto state = memory_.u16(*info + own.ext4_health->state);
    if (!flags || !state || memory_.u64(*info + own.ext4_health->super) != sb) return Reason::file_unreadable;
    if ((*flags & kExt4ShutDown) || (*state & kExt4Error)) return Reason::file_system_failed;
  }
  return std::nullopt;
}

/// Whether the file is one that people made, and where all such are: what VFS alone cannot tell.
std::optional<Reason> PageCache::judge_kind(uint64_t host, uint64_t sb, CachedFile& file) {
  if (file.private_kind == PrivateKind::btrfs) return judge_btrfs_inode(host, own_types(sb), file);
  if (file.private_kind == PrivateKind::iomap) return judge_xfs_inode(host, sb, own_types(sb));
  return std::nullopt;
}

/// The caches of free space and what is being relocated are regular files too, in trees of btrfs's own.
std::optional<Reason> PageCache::judge_btrfs_inode(uint64_t host, const FileSystemTypes& own,
                                                   CachedFile& file) {
  if (!own.btrfs) return Reason::file_system_types;
  if (!own.btrfs->unknown_member.empty()) {
    unknown_member_ = own.btrfs->unknown_member;
    return Reason::unknown_member;
  }
  const auto root = memory_.u64(host - own.btrfs->inode + own.btrfs->root);
  const auto tree = root ? memory_.u64(*root + own.btrfs->root_id) : std::nullopt;
  if (!tree) return Reason::file_unreadable;
  if (*tree != kBtrfsFileTree && (*tree < kBtrfsFirstSubvolume || *tree > kBtrfsLastSubvolume))
    return Reason::inode_kind;
  file.btrfs_state = own.btrfs->state;
  return std::nullopt;
}

/// A kernel too old to tell its modules' types has realtime files on a device of their own only.
std::optional<Reason> PageCache::judge_xfs_inode(uint64_t host, uint64_t sb, const FileSystemTypes& own) {
  if (!own.xfs) return layout_.folios ? Reason::file_system_types : judge_one_device(sb);
  const auto flags = memory_.u16(host - own.xfs->inode + own.xfs->flags);
  if (!flags) return Reason::file_unreadable;
  return *flags & kXfsRealtime ? std::optional(Reason::inode_kind) : std::nullopt;
}

std::optional<Reason> PageCache::judge_one_device(uint64_t sb) {
  if (!layout_.devices) return Reason::file_system_types;
  const auto device = memory_.u64(sb + layout_.sb_bdev), info = memory_.u64(sb + layout_.sb_info);
  if (!device || !info) return Reason::file_unreadable;
  const auto device_sb = memory_.u64(*device - layout_.devices->device_in_pair +
                                     layout_.devices->inode_in_pair + layout_.inode_sb);
  if (!devices_) devices_ = read_devices(device_sb.value_or(0));
  if (devices_->file_system != device_sb || !devices_->devices.contains(*device)) return Reason::inode_kind;
  for (uint64_t holder : {sb, *info}) {
    const auto held = devices_->holdings.find(holder);
    if (held != devices_->holdings.end() && held->second != std::vector{*device}) return Reason::inode_kind;
  }
  return std::nullopt;
}

const FileSystemTypes& PageCache::own_types(uint64_t sb) {
  static const FileSystemTypes kUnknown;
  const uint64_t type = memory_.u64(sb + layout_.sb_type).value_or(0);
  const auto known = own_types_.find(type);
  if (known != own_types_.end()) return known->second;
  if (own_types_.size() == kMaxFileSystemTypes) return kUnknown;
  const Btf* btf = modules_.of(type);
  return own_types_[type] = btf ? resolve_file_system(*btf) : kUnknown;
}

std::optional<Reason> PageCache::judge_block_device(uint64_t sb) {
  auto bdev = memory_.u64(sb + layout_.sb_bdev);
  if (!bdev) return Reason::file_unreadable;
  if (*bdev == 0) return Reason::no_block_device;
  return disks_.judge(*bdev);
}

/// btrfs spreads a file over several devices, and its super block names none. Who holds them is the super
/// block (since 6.16) or the file system's type, and then those of other btrfs are looked at, too.
std::optional<Reason> PageCache::judge_btrfs(uint64_t sb, uint64_t type) {
  if (!devices_) devices_ = read_devices(layout_.devices ? block_device_file_system(sb).value_or(0) : 0);
  bool any = false;
  for (uint64_t holder : {sb, type}) {
    const auto held = devices_->holdings.find(holder);
    if (held == devices_->holdings.end()) continue;
    for (uint64_t device : held->second)
      if (const auto doubt = disks_.judge(device)) return doubt;
    any = true;
  }
  return any ? std::nullopt : std::optional(Reason::no_block_device);
}

/// From the list of the inodes of their file system; none when the list does not end.
PageCache::HeldDevices PageCache::read_devices(uint64_t device_sb) const {
  HeldDevices held{device_sb, {}, {}};
  if (file_system_name(device_sb) != "bdev") return held;
  const BlockDevicesLayout& d = *layout_.devices;
  const uint64_t head = device_sb + d.sb_inodes;
  uint64_t link = memory_.u64(head).value_or(0);
  for (uint64_t steps = 0; link != head; steps++) {
    const uint64_t device = link - d.inode_link - d.inode_in_pair + d.device_in_pair;
    const auto holder = memory_.u64(device + d.holder), next = memory_.u64(link);
    if (steps == kMaxBlockDevices || !holder || !next) return {device_sb, {}, {}};
    link = *next;
    if (*holder == 0) continue;
    held.devices.insert(device);
    held.holdings[*holder].push_back(device);
  }
  return held;
}

/// The super block of the kernel's own file system of block devices: on the list of all, as any other's is
/// (Linux fs/super.c, sget_fc). The list's head, met once on the way round, is none.
std::optional<uint64_t> PageCache::block_device_file_system(uint64_t sb) const {
  const uint64_t start = sb + layout_.devices->sb_list;
  auto link = memory_.u64(start);
  for (uint64_t steps = 0; link && *link != start && steps < kMaxSuperBlocks; steps++) {
    const uint64_t other = *link - layout_.devices->sb_list;
    if (file_system_name(other) == "bdev") return other;
    link = memory_.u64(*link);
  }
  return std::nullopt;
}

std::optional<std::string> PageCache::file_system_name(uint64_t sb) const {
  auto type = memory_.u64(sb + layout_.sb_type);
  auto name_at = type ? memory_.u64(*type + layout_.fs_name) : std::nullopt;
  return name_at ? memory_.text(*name_at, 32) : std::nullopt;
}

void PageCache::walk_tree(uint64_t mapping) {
  auto head = memory_.u64(mapping + layout_.mapping_pages);
  if (!head) return;
  if ((*head & kEntryBits) == kInternal && *head > kLastSmallInternal)
    walk_node(mapping, *head - kInternal, 0, 64);
  else take_entry(mapping, *head, 0);
}

/// Depth is bounded: a child's shift is smaller than its parent's. Work is bounded by nodes_left_.
void PageCache::walk_node(uint64_t mapping, uint64_t node, uint64_t base, int shift_limit) {
  auto shift = memory_.u8(node + layout_.node_shift);
  if (!shift || *shift >= shift_limit || nodes_left_ == 0) return;
  nodes_left_--;
  bool proven = false;
  for (uint64_t i = 0; i < layout_.node_fanout; i++) {
    const uint64_t entry = memory_.u64(node + layout_.node_slots + 8 * i).value_or(0);
    if (entry == 0) continue;
    const uint64_t index = base + (i << *shift);
    if ((entry & kEntryBits) == kInternal) {
      if (entry > kLastSmallInternal && *shift > 0) walk_node(mapping, entry - kInternal, index, *shift);
    } else {
      proven = take_entry(mapping, entry, index) || proven;
    }
  }
  const auto gpa = proven ? memory_.translate(node) : std::nullopt;
  if (gpa) proofs_.add(*gpa);
}

bool PageCache::take_entry(uint64_t mapping, uint64_t entry, uint64_t index) {
  if (entry & kEntryBits) return false;
  auto pfn = array_.frame(entry);
  if (!pfn) return false;
  const StructPage page = *array_.at(*pfn);
  if (page.mapping() != mapping || page.index() != index) return false;
  in_tree_[*pfn] = true;
  proofs_.add(array_.home(*pfn));
  return true;
}

}  // namespace pars
