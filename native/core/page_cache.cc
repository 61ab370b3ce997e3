#include "core/page_cache.hh"

#include <bit>
#include <string_view>

namespace pars {

namespace {

// Linux include/uapi/linux/stat.h, include/linux/fs.h: these values are ABI or have not moved since 4.x.
constexpr uint16_t kFileTypeMask = 0xf000, kRegularFile = 0x8000;
constexpr uint32_t kSwapFile = 1 << 8, kDax = 1 << 13, kEncrypted = 1 << 14, kVerity = 1 << 16;

/// File systems whose clean pages a running guest was seen to re-read.
constexpr std::string_view kProvenFileSystems[] = {"ext4", "xfs", "squashfs"};
/// Disks that keep their data outside this host's and this guest's memory.
constexpr std::string_view kProvenDisks[] = {"vd", "sd", "hd", "xvd", "nvme", "mmcblk"};

// xarray entries (Linux include/linux/xarray.h): low bits 10 are internal (small ones siblings, others nodes), bit 0 values.
constexpr uint64_t kInternal = 2, kEntryBits = 3, kLastSmallInternal = 4096;

/// No tree of a guest can have more nodes than fit into its memory.
constexpr uint64_t kNodesPerPage = 8;

}  // namespace

PageCache::PageCache(const KernelMemory& memory, const CacheLayout& layout, const PageArray& array)
    : memory_(memory), layout_(layout), array_(array), in_tree_(array.end(), false),
      proofs_(memory.ram().segments().size(), 0), nodes_left_(array.end() * kNodesPerPage) {}

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
  if (layout_.delete_seqcnt) return {Reason::delete_seqcnt, 0};
  auto flags = memory_.u64(mapping + layout_.mapping_flags);
  auto host = memory_.u64(mapping + layout_.mapping_host);
  auto wb_err = memory_.u32(mapping + layout_.mapping_wb_err);
  if (!flags || !host || !wb_err) return {Reason::file_unreadable, 0};
  if (*wb_err != 0 || (*flags & (layout_.as_eio | layout_.as_enospc))) return {Reason::write_back_error, 0};
  if (*flags & (layout_.as_unevictable | layout_.as_inaccessible)) return {Reason::pinned_mapping, 0};
  if (layout_.mapping_nr_thps && memory_.u32(mapping + *layout_.mapping_nr_thps) != 0u) return {Reason::read_only_thp, 0};
  uint32_t max_order = 0;
  if (layout_.as_order_max_shift) max_order = *flags >> *layout_.as_order_max_shift & 31;
  else if (*flags & layout_.as_large_folios) max_order = 63;
  return {judge_inode(mapping, *host), max_order};
}

std::optional<Reason> PageCache::judge_inode(uint64_t mapping, uint64_t host) const {
  auto mode = memory_.u16(host + layout_.inode_mode);
  auto flags = memory_.u32(host + layout_.inode_flags);
  auto sb = memory_.u64(host + layout_.inode_sb);
  if (!mode || !flags || !sb) return Reason::file_unreadable;
  if ((*mode & kFileTypeMask) != kRegularFile) return Reason::not_regular;
  if (host + layout_.inode_data != mapping) return Reason::file_unreadable;
  if (*flags & (kSwapFile | kDax | kEncrypted | kVerity)) return Reason::inode_flags;
  return judge_super_block(*sb);
}

std::optional<Reason> PageCache::judge_super_block(uint64_t sb) const {
  auto type = memory_.u64(sb + layout_.sb_type);
  auto bdev = memory_.u64(sb + layout_.sb_bdev);
  if (!type || !bdev) return Reason::file_unreadable;
  auto name_at = memory_.u64(*type + layout_.fs_name);
  auto name = name_at ? memory_.text(*name_at, 32) : std::nullopt;
  if (!name) return Reason::file_unreadable;
  bool proven = false;
  for (std::string_view fs : kProvenFileSystems) proven = proven || *name == fs;
  if (!proven) return Reason::file_system;
  if (*bdev == 0) return Reason::no_block_device;
  auto disk = memory_.u64(*bdev + layout_.bdev_disk);
  auto disk_name = disk ? memory_.text(*disk + layout_.disk_name, 32) : std::nullopt;
  if (!disk_name) return Reason::file_unreadable;
  for (std::string_view prefix : kProvenDisks)
    if (disk_name->rfind(prefix, 0) == 0) return std::nullopt;
  return Reason::disk;
}

void PageCache::walk_tree(uint64_t mapping) {
  auto head = memory_.u64(mapping + layout_.mapping_pages);
  if (!head) return;
  if ((*head & kEntryBits) == kInternal && *head > kLastSmallInternal) walk_node(mapping, *head - kInternal, 0, 64);
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
  if (proven) prove(node);
}

bool PageCache::take_entry(uint64_t mapping, uint64_t entry, uint64_t index) {
  if (entry & kEntryBits) return false;
  auto pfn = array_.frame(entry);
  if (!pfn) return false;
  const StructPage page = *array_.at(*pfn);
  if (page.mapping() != mapping || page.index() != index) return false;
  in_tree_[*pfn] = true;
  return true;
}

void PageCache::prove(uint64_t va) {
  auto gpa = memory_.translate(va);
  const auto& segments = memory_.ram().segments();
  for (size_t i = 0; gpa && i < segments.size(); i++)
    if (*gpa >= segments[i].gpa && *gpa - segments[i].gpa < segments[i].bytes) proofs_[i]++;
}

}  // namespace pars
