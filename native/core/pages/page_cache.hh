// SPDX-License-Identifier: Apache-2.0
// Which files' clean pages in the page cache can be re-read from a disk (R11-R14), and which pages their
// trees hold (R5).
#pragma once
#include <optional>
#include <string>
#include <unordered_map>

#include "core/kernel/file_system_types.hh"
#include "core/kernel/kernel_layout.hh"
#include "core/kernel/kernel_memory.hh"
#include "core/kernel/module_types.hh"
#include "core/kernel/page_array.hh"
#include "core/pages/disks.hh"
#include "core/pages/file_trees.hh"
#include "core/pages/held_devices.hh"
#include "core/pages/reason.hh"

namespace pars {

/// What a file system keeps behind folio->private. Which folio has any is decided folio by folio.
enum class PrivateKind : uint8_t { none, buffer_heads, iomap, btrfs };

/// One file whose pages are in the cache.
struct CachedFile {
  std::optional<Reason> doubt =
      Reason::file_unreadable;  ///< why its clean pages are not proven safe to lose; none when they are
  uint32_t max_order = 0;       ///< largest folio the mapping declares (R10); 63: any
  PrivateKind private_kind = PrivateKind::none;
  uint32_t block_bits = 0;                      ///< log2 of the file system's block, as its inode says
  std::optional<BtrfsStateLayout> btrfs_state;  ///< of a btrfs whose folios may have one
};

class PageCache {
 public:
  PageCache(const KernelMemory& memory, const CacheLayout& layout, const PageArray& array,
            ModuleTypes& modules, SegmentProofs& proofs);

  /// What is known of the file behind an address_space. The first question walks its tree once.
  const CachedFile& file(uint64_t mapping);
  /// The member for which files are Reason::unknown_member; empty when there is none.
  const std::string& unknown_member() const { return unknown_member_; }
  /// The mapping's tree holds this head's struct page at its index.
  bool in_tree(uint64_t pfn) const { return trees_.hold(pfn); }

 private:
  CachedFile judge(uint64_t mapping);
  std::optional<Reason> judge_inode(uint64_t mapping, uint64_t host, CachedFile& file);
  std::optional<Reason> judge_super_block(uint64_t host, uint64_t sb, CachedFile& file);
  std::optional<Reason> judge_backing(uint64_t mapping);
  std::optional<Reason> judge_store(uint64_t sb, PrivateKind kind);
  std::optional<Reason> judge_block_device(uint64_t sb);
  std::optional<Reason> judge_btrfs(uint64_t sb, uint64_t type);
  std::optional<Reason> judge_health(uint64_t sb);
  std::optional<PrivateKind> proven_kind(std::string_view name);
  std::optional<Reason> judge_kind(uint64_t host, uint64_t sb, CachedFile& file);
  std::optional<Reason> judge_btrfs_inode(uint64_t host, const FileSystemTypes& own, CachedFile& file);
  std::optional<Reason> judge_xfs_inode(uint64_t host, uint64_t sb, const FileSystemTypes& own);
  std::optional<Reason> judge_one_device(uint64_t sb);
  const FileSystemTypes& own_types(uint64_t sb);

  const KernelMemory& memory_;
  const CacheLayout& layout_;
  ModuleTypes& modules_;
  Disks disks_;
  std::unordered_map<uint64_t, CachedFile> files_;
  std::unordered_map<uint64_t, FileSystemTypes> own_types_;  ///< by file_system_type
  std::optional<HeldDevices>
      devices_;  ///< read when first asked for, and once: a kernel has one list of them
  std::string unknown_member_;
  FileTrees trees_;
};

}  // namespace pars
