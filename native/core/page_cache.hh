// The page cache as the kernel's own trees hold it (R5), and which files' clean pages can be re-read from a disk (R11-R14).
#pragma once
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/kernel_layout.hh"
#include "core/kernel_memory.hh"
#include "core/page_array.hh"
#include "core/reason.hh"

namespace pars {

/// One file whose pages are in the cache.
struct CachedFile {
  std::optional<Reason> doubt = Reason::file_unreadable;  ///< why its clean pages are not proven safe to lose; none when they are
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
  std::optional<Reason> judge_inode(uint64_t mapping, uint64_t host) const;
  std::optional<Reason> judge_super_block(uint64_t sb) const;
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
