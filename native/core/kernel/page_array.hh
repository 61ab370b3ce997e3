// SPDX-License-Identifier: Apache-2.0
// The kernel's array of struct page: one 64-byte entry a page frame, linear in virtual memory
// (SPARSEMEM_VMEMMAP).
#pragma once
#include <optional>
#include <vector>

#include "core/believed.hh"
#include "core/kernel/kernel_layout.hh"
#include "core/kernel/kernel_memory.hh"

namespace pars {

// Low bits of page.mapping (Linux include/linux/page-flags.h): anonymous, movable, both: KSM.
inline constexpr uint64_t kMappingAnon = 1, kMappingBits = 3;

/// Whether a page.mapping is the address_space of a file: a kernel address with none of those bits.
inline bool is_file_mapping(uint64_t mapping) { return mapping >> 63 && (mapping & kMappingBits) == 0; }

/// Guest-physical addresses from `begin` up to `end`.
struct Stretch {
  uint64_t begin = 0, end = 0;
  bool operator==(const Stretch&) const = default;
};

/// The memory that the kernel has sections for, as mem_section tells.
struct PresentSections {
  bool known = false;  ///< false: mem_section does not make sense
  uint64_t section_bytes = 0;
  std::vector<Stretch> stretches;  ///< ascending, none touches the next
};
PresentSections present_sections(const KernelMemory& memory, const Vmcoreinfo& info,
                                 const KernelLayout& layout);

/// A view of one struct page. Fields by name; all reads are inside its 64 bytes.
class StructPage {
 public:
  StructPage(const uint8_t* at, const PageLayout& layout) : at_(at), layout_(&layout) {}
  uint64_t flags() const { return load_le<uint64_t>(at_ + layout_->flags); }
  int32_t refcount() const { return load_le<int32_t>(at_ + layout_->refcount); }
  uint32_t type_word() const { return load_le<uint32_t>(at_ + layout_->mapcount); }
  int32_t mapcount() const { return load_le<int32_t>(at_ + layout_->mapcount); }
  uint64_t mapping() const { return load_le<uint64_t>(at_ + layout_->mapping); }
  uint64_t index() const { return load_le<uint64_t>(at_ + layout_->index); }
  uint64_t private_data() const { return load_le<uint64_t>(at_ + layout_->private_data); }
  uint64_t compound() const { return load_le<uint64_t>(at_ + layout_->compound); }
  uint64_t list_next() const { return load_le<uint64_t>(at_ + layout_->list); }
  bool has(uint64_t mask) const { return flags() & mask; }
  const uint8_t* bytes() const { return at_; }

 private:
  const uint8_t* at_;
  const PageLayout* layout_;
};

class PageArray {
 public:
  /// Where the array begins: the address that the first section there is tells.
  static Believed<uint64_t> base(const KernelMemory& memory, const Vmcoreinfo& info,
                                 const KernelLayout& layout);
  /// Walks mem_section.
  static Believed<PageArray> find(const KernelMemory& memory, const Vmcoreinfo& info,
                                  const KernelLayout& layout);

  /// The struct page of a frame; nullopt when it has none (no section, or its entry is not in RAM).
  std::optional<StructPage> at(uint64_t pfn) const {
    const uint8_t* chunk = pfn / kPerChunk < chunks_.size() ? chunks_[pfn / kPerChunk] : nullptr;
    if (!chunk) return std::nullopt;
    return StructPage(chunk + pfn % kPerChunk * kStructPageBytes, *layout_);
  }
  uint64_t address(uint64_t pfn) const { return base_ + pfn * kStructPageBytes; }
  /// The frame whose struct page stands at kernel address `va`.
  std::optional<uint64_t> frame(uint64_t va) const {
    const uint64_t pfn = (va - base_) / kStructPageBytes;
    if (va < base_ || (va - base_) % kStructPageBytes || !at(pfn)) return std::nullopt;
    return pfn;
  }
  /// The head of a tail page: `compound` holds its address, or since Linux 7.1 a mask of the tail's own
  /// address.
  std::optional<uint64_t> head_of(uint64_t tail_pfn, uint64_t compound) const;
  /// Guest-physical address of the page that holds this frame's struct page.
  uint64_t home(uint64_t pfn) const { return homes_[pfn / kPerChunk]; }
  /// One past the last frame that could have a struct page.
  uint64_t end() const { return chunks_.size() * kPerChunk; }
  const PageLayout& layout() const { return *layout_; }

 private:
  static constexpr uint64_t kPerChunk = kPageSize / kStructPageBytes;
  std::vector<const uint8_t*> chunks_;  // one 4 KiB page of struct pages each; nullptr where there is none
  std::vector<uint64_t> homes_;         // its guest-physical address
  uint64_t base_ = 0;
  const PageLayout* layout_ = nullptr;
};

}  // namespace pars
