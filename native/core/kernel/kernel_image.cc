// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/kernel_image.hh"

namespace pars {

namespace {

constexpr uint32_t kBtfMagic = 0x0001eb9f;
constexpr int kMaxBtfTries = 64;
constexpr uint64_t kMaxBtfBytes = 48ull
                                  << 20;  // in all of them: reading types costs more than searching them
constexpr int kMaxRegionTries = 1 << 16;

// Boot moves the regions of kernel memory by whole entries of the third level (Linux arch/x86/mm/kaslr.c),
// never past each other, and remembers where to in words that are read-only from then on. vmemmap_base, of
// the struct pages, is the highest; above it are only regions that never move. Words that look alike are few,
// and nothing is mapped there.
constexpr uint64_t kRegionStep = 1ull << 30;
constexpr uint64_t kEndOfMoved = 0xfffffe0000000000;  // CPU_ENTRY_AREA_BASE
/// Where that region begins, with four and five levels, in kernels built to move nothing: Linux
/// Documentation/arch/x86/x86_64/mm.rst.
constexpr uint64_t kUnmoved[] = {0xffffea0000000000, 0xffd4000000000000};

/// The kernel's BTF lies in the read-only part of its image. Nothing found elsewhere counts: the page cache
/// holds other kernels' files.
/// `left` bounds the bytes that are read.
std::optional<Btf> btf_at(const KernelMemory& memory, uint64_t va, uint64_t& left) {
  uint8_t header[24];
  if (!memory.read(va, header, sizeof header)) return std::nullopt;
  const uint64_t bytes = Btf::blob_bytes({header, sizeof header});
  if (bytes < (256u << 10) || bytes > left) return std::nullopt;
  left -= bytes;
  for (uint64_t at = va & ~(kPageSize - 1); at < va + bytes; at += kPageSize) {
    const TableEntry entry = memory.walk(at);
    if (!entry.present || entry.writable) return std::nullopt;
  }
  std::vector<uint8_t> blob(bytes);
  if (!memory.read(va, blob.data(), bytes)) return std::nullopt;
  auto btf = Btf::parse(std::move(blob));
  return btf ? std::optional(std::move(*btf)) : std::nullopt;
}

/// Looks for what an image tells, a page at a time. A root that lays many false trails ends the search.
class ImageSearch {
 public:
  explicit ImageSearch(KernelImage& image) : image_(image) {
    for (uint64_t va : kUnmoved) take_region(va);
  }
  void take_page(const uint8_t* page, uint64_t va) {
    look_for_btf(page, va);
    for (uint32_t i = 0; i < kPageSize; i += 8) take_region(load_le<uint64_t>(page + i));
  }
  /// Of too many words that may tell where the struct pages are, the right one may not have been looked at.
  void end() {
    if (regions_ == 0) image_.page_array = 0;
  }

 private:
  void look_for_btf(const uint8_t* page, uint64_t va) {
    for (uint32_t i = 0; i < kPageSize && !image_.btf.types && tries_ > 0; i += 4) {
      if (load_le<uint32_t>(page + i) != kBtfMagic) continue;
      tries_--;
      if (auto btf = btf_at(*image_.memory, va + i, bytes_))
        image_.btf = {std::make_shared<const Btf>(std::move(*btf)), va + i};
    }
  }
  void take_region(uint64_t word) {
    if (word % kRegionStep != 0 || word <= image_.page_array || word >= kEndOfMoved || regions_ == 0) return;
    regions_--;
    if (image_.memory->translate(word)) image_.page_array = word;
  }

  KernelImage& image_;
  int tries_ = kMaxBtfTries, regions_ = kMaxRegionTries;
  uint64_t bytes_ = kMaxBtfBytes;
};

}  // namespace

KernelImage look_through_image(std::shared_ptr<const KernelMemory> memory, uint64_t bytes) {
  KernelImage image{std::move(memory), {}};
  ImageSearch search(image);
  for (uint64_t va = kImageMap; va < kImageMap + bytes;) {
    const TableEntry entry = image.memory->walk(va);
    if (!entry.present || entry.writable) {
      const uint64_t next = (va & ~(entry.bytes - 1)) + entry.bytes;
      if (next <= va) break;  // a missing entry reaches to the end of the address space
      va = next;
      continue;
    }
    if (const uint8_t* page = image.memory->ram().page(entry.gpa)) search.take_page(page, va);
    va += kPageSize;
  }
  search.end();
  return image;
}

}  // namespace pars
