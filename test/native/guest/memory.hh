// SPDX-License-Identifier: Apache-2.0
// Memory of a guest made by hand: RAM that exists where it was written, kernel page tables, and an image of
// both.
#pragma once
#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/kernel/guest_ram.hh"

namespace pars::test {

inline constexpr uint64_t kPage = 4096, kMiB = 1ull << 20, kGiB = 1ull << 30;
inline constexpr uint64_t kDirectMap = 0xffff888000000000, kVmalloc = 0xffffc90000000000,
                          kVmemmap = 0xffffeb4000000000, kImageMap = 0xffffffff80000000;
inline constexpr uint64_t kPresent = 1, kWritable = 2, kAccessed = 0x20, kLargePage = 0x80;

/// RAM as an image holds it: a page that was never written has no bytes there.
class GuestMemory {
 public:
  GuestMemory(const DomainXml& domain, const std::vector<std::pair<std::string, uint64_t>>& blocks)
      : image_(kPage) {
    stream_.blocks.resize(blocks.size());
    for (size_t i = 0; i < blocks.size(); i++) {
      stream_.blocks[i].name = blocks[i].first, stream_.blocks[i].bytes = blocks[i].second;
      if (!stream_.blocks[i].pages.reset(blocks[i].second / kPage))
        throw std::runtime_error("no memory for a page index");
    }
    const auto layout = lay_out_ram(domain, stream_);
    if (!layout) throw std::runtime_error(layout.why());
    segments_ = *layout;
  }

  /// The bytes of a page, which from now on has some. The pointer holds until the next page gets its first.
  uint8_t* page(uint64_t pfn) {
    PageLocation& at = location(pfn);
    if (at == kZeroPage) at = image_.size(), image_.resize(image_.size() + kPage);
    return &image_[at];
  }
  bool has_bytes(uint64_t pfn) { return location(pfn) != kZeroPage; }
  void forget(uint64_t pfn) { location(pfn) = kZeroPage; }
  PageLocation& location(uint64_t pfn) {
    for (const Segment& s : segments_)
      if (pfn * kPage >= s.gpa && pfn * kPage - s.gpa < s.bytes)
        return stream_.blocks[s.block].pages[s.block_page + pfn - s.gpa / kPage];
    throw std::out_of_range("frame " + std::to_string(pfn) + " is not RAM");
  }
  void put(uint64_t gpa, uint64_t value, uint32_t bytes) {
    std::memcpy(page(gpa / kPage) + gpa % kPage, &value, bytes);
  }
  uint64_t get(uint64_t gpa, uint32_t bytes) {
    uint64_t value = 0;
    std::memcpy(&value, page(gpa / kPage) + gpa % kPage, bytes);
    return value;
  }
  void write(uint64_t gpa, const void* from, size_t bytes) {
    const auto* at = static_cast<const uint8_t*>(from);
    while (bytes > 0) {
      const size_t step = std::min<size_t>(bytes, kPage - gpa % kPage);
      std::memcpy(page(gpa / kPage) + gpa % kPage, at, step);
      gpa += step, at += step, bytes -= step;
    }
  }
  /// Contents no two pages share, and that are no repeated word.
  void fill(uint64_t pfn) {
    uint8_t* to = page(pfn);
    for (size_t i = 0; i < kPage; i += 8) {
      const uint64_t word = (pfn << 16 | i) * 0x9e3779b97f4a7c15ull;
      std::memcpy(to + i, &word, 8);
    }
  }

  std::vector<uint8_t>& image() { return image_; }
  MigrationStream& stream() { return stream_; }
  const std::vector<Segment>& segments() const { return segments_; }

 private:
  std::vector<uint8_t> image_;  // its first page stands for everything before RAM
  MigrationStream stream_;
  std::vector<Segment> segments_;
};

/// The kernel's page tables, four or five levels. The kernel half stands in swapper_pg_dir and in the table
/// of every process.
class PageTables {
 public:
  PageTables(GuestMemory& memory, bool five_levels, uint64_t first_frame, uint64_t frames)
      : memory_(&memory), levels_(five_levels ? 5 : 4), next_(first_frame), end_(first_frame + frames) {}

  /// From here on `tops[0]` is the kernel's own table, the others share its kernel half.
  void set_tops(std::vector<uint64_t> pfns) { tops_ = std::move(pfns); }

  /// Maps one page of 4 KiB (level 1), 2 MiB (2) or 1 GiB (3).
  void map(uint64_t va, uint64_t gpa, uint64_t flags, int level = 1) {
    memory_->put(entry(va, level, true), gpa | flags | kPresent | (level > 1 ? kLargePage : 0), 8);
  }
  /// Guest-physical address of the entry that decides about `va` at a level.
  uint64_t entry(uint64_t va, int level, bool make = false) {
    uint64_t table = tops_.at(0) * kPage;
    for (int at = levels_;; at--) {
      const uint64_t slot = table + (va >> (12 + 9 * (at - 1)) & 511) * 8;
      if (at == level) return slot;
      if (!(memory_->get(slot, 8) & kPresent)) {
        if (!make) throw std::out_of_range("not mapped");
        if (next_ == end_) throw std::out_of_range("no frame left for page tables");
        link(slot, table, next_++ * kPage);
      }
      table = memory_->get(slot, 8) & 0x000ffffffffff000;
    }
  }

 private:
  void link(uint64_t slot, uint64_t table, uint64_t next) {
    memory_->page(next / kPage);
    memory_->put(slot, next | kPresent | kWritable, 8);
    if (table != tops_[0] * kPage) return;
    for (size_t i = 1; i < tops_.size(); i++)  // the processor marks what it used, in the table it used
      memory_->put(tops_[i] * kPage + slot % kPage, next | kPresent | kWritable | kAccessed, 8);
  }

  GuestMemory* memory_;
  int levels_;
  uint64_t next_, end_;
  std::vector<uint64_t> tops_;
};

}  // namespace pars::test
