// The page cache as the kernel's own trees hold it (R5), and which files' clean pages can be re-read from a disk (R11-R14).
#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "core/kernel_layout.hh"
#include "core/kernel_memory.hh"
#include "core/page_array.hh"

namespace pars {

/// Why the clean pages of a file are not proven safe to lose; `none` when they are.
enum class FileDoubt : uint8_t {
  none,
  unreadable,         // address_space, inode or super block not in RAM, or not pointing at each other
  delete_seqcnt,      // R14
  write_back_error,   // R11
  pinned_mapping,     // AS_UNEVICTABLE, AS_INACCESSIBLE
  not_regular,        // not S_ISREG: block device, directory, internal inode
  inode_flags,        // R12: encrypted, verity, DAX, swap file
  file_system,        // not on the list of proven ones
  no_block_device,
  disk,               // R13: network, RAM-backed or stacked block device
  read_only_thp,      // R10: nr_thps
};
const char* file_doubt_text(FileDoubt doubt);

struct CachedFile {
  FileDoubt doubt = FileDoubt::unreadable;
  uint32_t max_order = 0;  ///< largest folio the mapping declares (R10); 63: any
};

class PageCache {
 public:
  PageCache(const KernelMemory& memory, const CacheLayout& layout, const PageArray& array);

  /// What is known of the file behind an address_space. The first question walks its tree once.
  const CachedFile& file(uint64_t mapping);
  /// The mapping's tree holds this head's struct page at its index.
  bool in_tree(uint64_t pfn) const { return in_tree_[pfn]; }
  /// Verified structures read through each segment of guest RAM (R6).
  const std::vector<uint64_t>& proofs() const { return proofs_; }

 private:
  CachedFile judge(uint64_t mapping);
  FileDoubt judge_inode(uint64_t mapping, uint64_t host) const;
  FileDoubt judge_super_block(uint64_t sb) const;
  void walk_tree(uint64_t mapping);
  void walk_node(uint64_t mapping, uint64_t node, uint64_t base, int shift_limit);
  bool take_entry(uint64_t mapping, uint64_t entry, uint64_t index);
  void prove(uint64_t va);

  const KernelMemory& memory_;
  const CacheLayout& layout_;
  const PageArray& array_;
  std::unordered_map<uint64_t, CachedFile> files_;
  std::vector<bool> in_tree_;
  std::vector<uint64_t> proofs_;
  uint64_t nodes_left_;
};

}  // namespace pars
