// SPDX-License-Identifier: Apache-2.0
#include "core/image/mapped_ram.hh"

#include <bit>

#include "core/image/early_section.hh"
#include "core/image/ram_walk.hh"

namespace pars {
namespace {

constexpr uint32_t kHeaderVersion = 1;
/// QEMU begins a block's pages at the next whole MiB.
constexpr uint64_t kMaxGapBytes = 16u << 20;
/// So many zero pages in a row are a hole of the image, not part of a stripe.
constexpr uint64_t kHolePages = 256;
/// A stripe with few pages among zero pages ends here, well below kMaxStripeBytes.
constexpr uint64_t kStretchBytes = 12u << 20;
constexpr uint64_t kPrefetchBytes = 8 * kPageSize;

using stream::error;

std::string of(const RamBlock& block) { return " of \"" + block.name + "\""; }

/// From bitmap to page index; on the way each page's first bytes are looked at, as a walk through records
/// does.
class BitmapReader {
 public:
  BitmapReader(Bytes image, ImageDescriptor descriptor, MigrationStream& stream)
      : image_(image), window_(image, descriptor), stream_(stream) {
    stream_.fills.reset(image.size());
  }

  Status read(RamBlock& block) {
    const uint64_t pages = block.pages.size();
    for (uint64_t first = 0; first < pages; first += 64) {
      const uint64_t at = block.bitmap_offset + first / 8;
      uint64_t bits = load_le<uint64_t>(&image_[at]);
      if (pages - first < 64 && bits >> (pages - first))
        return error(ErrorCode::bad_flags, at, "bits set for pages behind the last" + of(block));
      stream_.zero_records += std::min<uint64_t>(64, pages - first) - std::popcount(bits);
      for (; bits; bits &= bits - 1) take(block, first + std::countr_zero(bits));
    }
    return Done{};
  }

 private:
  void take(RamBlock& block, uint64_t page) {
    const uint64_t at = block.pages_offset + page * kPageSize;
    block.pages[page] = at;
    ++stream_.payload_records;
    const uint8_t* const bytes = window_.from(at, kPageSize).data();
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(bytes) + kPrefetchBytes));
    if (stream::begins_vmcoreinfo(bytes) && stream_.vmcoreinfo.size() < kMaxVmcoreinfo)
      stream_.vmcoreinfo.push_back(at);
    if (window_.buffered() ? is_fill(bytes) : may_be_fill(bytes)) stream_.fills.note(at);
    window_.walked(kPageSize);
  }

  Bytes image_;
  ImageWindow window_;
  MigrationStream& stream_;
};

/// Over the RAM's sections, each of which is only its end.
Status cross_ram(Bytes image, uint64_t position, MigrationStream& stream) {
  for (bool last = false;;) {
    Cursor cursor(image, position);
    const uint64_t word = cursor.be64();
    if (!cursor.ok()) return error(ErrorCode::truncated, position, "the image ends among the RAM's sections");
    if (word != stream::kRamEos)
      return error(ErrorCode::bad_flags, position,
                   "RAM record " + stream::hex(word) + " beside pages at fixed places");
    const auto next = stream::cross_sections(image, position + 8, stream.ram_section, last);
    if (!next) return next.error();
    position = next->position, last = next->is_end;
    stream::note_early(stream.early, next->early);
    if (next->done) break;
  }
  stream.ram_end = position;
  return Done{};
}

uint64_t end_of_zeros(const PageIndex& pages, uint64_t page) {
  while (page < pages.size() && pages[page] == kZeroPage) ++page;
  return page;
}

/// Cuts everything from `from` on: stripes of pages and what stands between, and holes.
class StripeCutter {
 public:
  explicit StripeCutter(uint64_t from) { stripes_.push_back({from}); }

  void block(const RamBlock& block, uint32_t number) {
    uint64_t known_zeros = 0;  // up to where zero pages were counted
    for (uint64_t page = 0; page < block.pages.size();) {
      const uint64_t at = block.pages_offset + page * kPageSize;
      if (page >= known_zeros) known_zeros = end_of_zeros(block.pages, page);
      if (known_zeros >= page + kHolePages) {
        begin(at, number, true);
        page = known_zeros;
        begin(block.pages_offset + page * kPageSize, number, false);
        continue;
      }
      if (stripes_.back().payload_pages == kStripePages || at >= stripes_.back().image_offset + kStretchBytes)
        begin(at, number, false);
      stripes_.back().payload_pages += block.pages[page] != kZeroPage;
      ++page;
    }
  }

  std::vector<Stripe> finish(uint64_t image_bytes) {
    for (size_t i = 0; i < stripes_.size(); ++i)
      stripes_[i].length =
          (i + 1 < stripes_.size() ? stripes_[i + 1].image_offset : image_bytes) - stripes_[i].image_offset;
    return std::move(stripes_);
  }

 private:
  void begin(uint64_t at, uint32_t block, bool hole) { stripes_.push_back({at, 0, block, 0, hole}); }
  std::vector<Stripe> stripes_;
};

}  // namespace

Status stream::read_mapped_header(Cursor& cursor, uint64_t image_bytes, RamBlock& block) {
  const uint64_t at = cursor.position();
  const uint32_t version = cursor.be32();
  const uint64_t page_bytes = cursor.be64(), bitmap = cursor.be64(), pages = cursor.be64();
  if (!cursor.ok()) return error(ErrorCode::truncated, at, "the stream ends inside the header" + of(block));
  if (version != kHeaderVersion)
    return error(ErrorCode::unsupported_version, at,
                 "mapped-ram header" + of(block) + " of version " + std::to_string(version) + ", expected 1");
  if (page_bytes != kPageSize)
    return error(ErrorCode::unsupported_layout, at + 4,
                 "pages" + of(block) + " of " + std::to_string(page_bytes) + " bytes");
  if (bitmap != cursor.position())
    return error(ErrorCode::bad_offset, at + 12,
                 "bitmap" + of(block) + " at " + hex(bitmap) + ", expected behind its header at " +
                     hex(cursor.position()));
  const uint64_t bitmap_end = bitmap + bitmap_bytes(block.bytes / kPageSize);
  if (pages % kPageSize || pages < bitmap_end || pages - bitmap_end > kMaxGapBytes)
    return error(ErrorCode::bad_offset, at + 20,
                 "pages" + of(block) + " at " + hex(pages) + ", its bitmap ends at " + hex(bitmap_end));
  if (pages > image_bytes || block.bytes > image_bytes - pages)
    return error(ErrorCode::truncated, at + 20,
                 "pages" + of(block) + " at " + hex(pages) + " reach past the end of the image at " +
                     hex(image_bytes));
  block.bitmap_offset = bitmap, block.pages_offset = pages;
  cursor.skip(pages + block.bytes - cursor.position());
  return Done{};
}

Result<MigrationStream> parse_mapped_ram(Bytes image, uint64_t stream_offset, ImageDescriptor descriptor) {
  MigrationStream stream;
  const Result<uint64_t> sections =
      stream::read_prologue(image, stream_offset, stream, stream::PageLayout::mapped);
  if (!sections) return sections.error();
  if (Status crossed = cross_ram(image, *sections, stream); !crossed) return crossed.error();
  BitmapReader reader(image, descriptor, stream);
  StripeCutter cutter(stream_offset);
  for (uint32_t i = 0; i < stream.blocks.size(); ++i) {
    if (Status read = reader.read(stream.blocks[i]); !read) return read.error();
    cutter.block(stream.blocks[i], i);
  }
  stream.stripes = cutter.finish(image.size());
  return stream;
}

std::vector<PageRecord> mapped_records(const MigrationStream& stream, const Stripe& stripe) {
  std::vector<PageRecord> records;
  if (stripe.hole) return records;
  for (uint32_t b = 0; b < stream.blocks.size(); ++b) {
    const RamBlock& block = stream.blocks[b];
    const uint64_t end = std::min(stripe.image_offset + stripe.length, block.pages_offset + block.bytes);
    for (uint64_t at = std::max(stripe.image_offset, block.pages_offset); at < end; at += kPageSize) {
      const uint64_t page = (at - block.pages_offset) / kPageSize;
      records.push_back({at, 0, at, b, page, block.pages[page] == kZeroPage});
    }
  }
  return records;
}

}  // namespace pars
