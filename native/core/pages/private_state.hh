// SPDX-License-Identifier: Apache-2.0
// What a file system keeps behind folio->private, and which bits of it say that the folio's contents are
// there: they must be cleared with PG_uptodate when the contents are lost. One recipe for each kind; one that
// was not proven on a running guest does not exist. Docs: docs/recipes.md.
#pragma once
#include <vector>

#include "core/kernel/kernel_layout.hh"
#include "core/kernel/kernel_memory.hh"
#include "core/kernel/page_array.hh"
#include "core/pages/page_cache.hh"
#include "core/pages/reason.hh"

namespace pars {

/// Bits of one byte of kernel memory.
struct StateBits {
  uint64_t va = 0;
  uint8_t mask = 0;
};

class PrivateState {
 public:
  PrivateState(const KernelMemory& memory, const PrivateLayout& layout, const PageArray& array)
      : memory_(memory), layout_(layout), array_(array) {}

  /// The recipe for a folio with PG_private, and the bits it clears, appended; any other reason is why there
  /// is none.
  Reason judge(uint64_t pfn, uint32_t order, const CachedFile& file, std::vector<StateBits>& bits) const;

 private:
  /// A folio and the blocks it is made of.
  struct Folio {
    uint64_t pfn, state;  ///< `state`: the address in folio->private
    uint32_t block_bits;
    uint64_t blocks;
  };
  Reason buffer_heads(const BufferHeadLayout& layout, const Folio& folio, std::vector<StateBits>& bits) const;
  bool idle_buffer(const BufferHeadLayout& layout, const Folio& folio, uint64_t at, uint64_t data) const;
  Reason iomap(const IomapLayout& layout, const Folio& folio, std::vector<StateBits>& bits) const;
  Reason btrfs(const std::optional<BtrfsStateLayout>& layout, const Folio& folio,
               std::vector<StateBits>& bits) const;
  Reason btrfs_blocks(const BtrfsStateLayout& layout, const Folio& folio, std::vector<StateBits>& bits) const;
  bool bitmap_is(uint64_t va, uint64_t first, uint64_t end, bool value) const;
  bool zero32(uint64_t va) const { return memory_.u32(va) == 0u; }
  bool zero64(uint64_t va) const { return memory_.u64(va) == uint64_t{0}; }

  const KernelMemory& memory_;
  const PrivateLayout& layout_;
  const PageArray& array_;
};

}  // namespace pars
