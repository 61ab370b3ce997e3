// SPDX-License-Identifier: Apache-2.0
#include "core/pages/page_cache.hh"

#include <algorithm>
#include <string_view>

namespace pars {

namespace {

// Linux include/linux/fs.h: these values have not moved since 4.x.
constexpr uint32_t kSwapFile = 1 << 8, kDax = 1 << 13, kEncrypted = 1 << 14, kVerity = 1 << 16;

/// File systems whose clean pages a running guest was seen to re-read, and what they keep behind
/// folio->private.
constexpr std::pair<std::string_view, PrivateKind> kProvenFileSystems[] = {
    {"ext4", PrivateKind::buffer_heads},
    {"xfs", PrivateKind::iomap},
    {"squashfs", PrivateKind::none},
    {"btrfs", PrivateKind::btrfs}};

constexpr uint32_t kErrorNumber = 0xfff, kNoSpace = 28;  // Linux lib/errseq.c: above lie a counter and a mark
constexpr size_t kMaxFileSystemTypes = 1 << 8;

// On disk: Linux include/uapi/linux/btrfs_tree.h (BTRFS_FS_TREE_OBJECTID, BTRFS_FIRST_FREE_OBJECTID,
// BTRFS_LAST_FREE_OBJECTID), fs/xfs/libxfs/xfs_format.h (XFS_DIFLAG_REALTIME).
constexpr uint64_t kBtrfsFileTree = 5, kBtrfsFirstSubvolume = 256, kBtrfsLastSubvolume = -256ull;
constexpr uint16_t kXfsRealtime = 1;
// Linux fs/ext4/ext4.h: EXT4_FLAGS_SHUTDOWN is bit 1 since 4.11; EXT4_ERROR_FS is on the disk.
constexpr uint64_t kExt4ShutDown = 1 << 1;
constexpr uint16_t kExt4Error = 1 << 1;

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
      modules_(modules),
      disks_(memory, layout, modules, [this](uint64_t mapping) { return judge_backing(mapping); }),
      unknown_member_(layout.unknown_member),
      trees_(memory, layout, array, proofs) {}

const CachedFile& PageCache::file(uint64_t mapping) {
  auto [at, fresh] = files_.try_emplace(mapping);
  if (fresh) {
    const CachedFile judged = judge(mapping);
    if (!judged.doubt) trees_.walk(mapping);
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
  const auto name = file_system_name(memory_, layout_, sb);
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
  const auto name = sb ? file_system_name(memory_, layout_, *sb) : std::nullopt;
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
  const auto name = file_system_name(memory_, layout_, sb);
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
  if (!devices_) devices_ = held_devices(memory_, layout_, device_sb.value_or(0));
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
  if (!devices_)
    devices_ = held_devices(memory_, layout_,
                            layout_.devices ? block_device_file_system(memory_, layout_, sb).value_or(0) : 0);
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

}  // namespace pars
