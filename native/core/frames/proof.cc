// SPDX-License-Identifier: Apache-2.0
#include "core/frames/proof.hh"

#include <algorithm>
#include <memory>

#include "core/frames/disk_reference.hh"
#include "core/frames/recovery_frame.hh"
#include "core/frames/stripe.hh"
#include "core/image/fill.hh"

namespace pars {
namespace {

// Flags of a page's record word (QEMU, migration/ram.c).
constexpr uint64_t kFlagPage = 0x08, kFlagContinue = 0x20, kFlagBits = 0xfff;
// The header of a block in mapped-ram, right before its bitmap.
constexpr uint64_t kMappedHeaderBytes = 28, kMappedVersion = 1;

Error corrupt(uint64_t offset, std::string what) { return {ErrorCode::corrupt, offset, std::move(what)}; }

Error unreadable(uint64_t offset) { return {ErrorCode::io, offset, "the image cannot be read there"}; }

/// A stretch of the image that is read ahead of what is looked at.
class Window {
 public:
  Window(const ProofImage& image, size_t capacity, uint64_t end)
      : image_(image), bytes_(new uint8_t[capacity]), capacity_(capacity), end_(end) {}

  /// At most `capacity` bytes that end at `end` or before; nullptr when they cannot be read.
  const uint8_t* at(uint64_t offset, size_t count) {
    if (count > capacity_ || offset > end_ || count > end_ - offset) return nullptr;
    if (offset < begin_ || offset + count > begin_ + filled_) {
      begin_ = offset, filled_ = std::min<uint64_t>(capacity_, end_ - offset);
      if (!image_.read(begin_, {bytes_.get(), filled_})) {
        filled_ = 0;
        return nullptr;
      }
    }
    return bytes_.get() + (offset - begin_);
  }
  size_t capacity() const { return capacity_; }

 private:
  const ProofImage& image_;
  std::unique_ptr<uint8_t[]> bytes_;
  size_t capacity_;
  uint64_t end_, begin_ = 0;
  size_t filled_ = 0;
};

/// The places of a sparse image's pages, and what its bitmaps say of them.
class Places {
 public:
  explicit Places(const ProofImage& image) : image_(image), bits_(image, kBits, UINT64_MAX) {}

  /// Blocks that the image's own headers announce as they are told here.
  Status check() {
    for (const MappedPlaces& block : image_.blocks) {
      uint8_t header[kMappedHeaderBytes];
      const uint64_t at = block.bitmap_offset - kMappedHeaderBytes;
      if (block.bitmap_offset < kMappedHeaderBytes || !image_.read(at, header)) return unreadable(at);
      if (load_be32(header) != kMappedVersion || load_be64(header + 4) != kPageSize ||
          load_be64(header + 12) != block.bitmap_offset || load_be64(header + 20) != block.pages_offset)
        return corrupt(at, "no header of a block stands where one is said to stand");
    }
    return Done{};
  }

  /// Whether that is a page's place, and its bit is clear: whatever lies there is a zero page.
  Result<bool> is_clear(uint64_t offset) {
    for (const MappedPlaces& block : image_.blocks) {
      if (offset < block.pages_offset || offset - block.pages_offset >= block.bytes) continue;
      const uint64_t page = (offset - block.pages_offset) / kPageSize;
      if ((offset - block.pages_offset) % kPageSize) break;
      const uint8_t* bits = bits_.at(block.bitmap_offset + page / 8, 1);
      if (!bits) return unreadable(block.bitmap_offset + page / 8);
      return !(*bits >> page % 8 & 1);
    }
    return corrupt(offset, "a page where no block has one");
  }

 private:
  static constexpr size_t kBits = 512;  // of two stripes
  const ProofImage& image_;
  Window bits_;
};

class Proof {
 public:
  Proof(const StripeParts& stripe, const ProofImage& image)
      : stripe_(stripe),
        mapped_(!image.blocks.empty()),
        places_(image),
        window_(image, kWindow, stripe.image_offset + stripe.image_bytes),
        at_(stripe.image_offset) {}

  Status run() {
    if (auto status = places_.check(); !status) return status;
    auto table = decode_runs(stripe_.parts[kSkeletonFrame].bytes);
    if (!table) return table.error();
    if (auto status = read_references(); !status) return status;
    if (auto status = check_sums(*table); !status) return status;
    rest_ = table->rest.data();
    for (const Run& run : table->runs)
      if (auto status = one(run); !status) return status;
    return finish_reference();
  }

 private:
  Status read_references() {
    const StripePart& part = stripe_.parts[kDiskFrame];
    if (!part.present) return Done{};
    auto references = decode_references(part.bytes);
    if (!references) return references.error();
    references_ = std::move(*references);
    return Done{};
  }

  /// All parts together are as long as the stripe, each page once; then no step of the walk can leave them.
  Status check_sums(const RunTable& table) {
    std::array<uint64_t, kFrameKinds> pages{};
    uint64_t total = table.rest.size();
    for (const Run& run : table.runs) pages[run.source] += run.pages, total += run.pages * kPageSize;
    uint64_t referenced = 0;
    for (const DiskRun& reference : references_) referenced += reference.pages;
    if (pages[kDiskFrame] != referenced)
      return corrupt(at_, "references to other pages than the stripe has on disks");
    for (size_t kind = 0; kind < kDiskFrame; kind++) {
      if (!payload_kind(static_cast<uint8_t>(kind))) continue;
      const StripePart& part = stripe_.parts[kind];
      const uint64_t unit = kind == kFillFrame ? sizeof(uint64_t) : kPageSize;
      const uint64_t bytes = part.present ? part.raw_bytes : 0;
      if (bytes != pages[kind] * unit || (part.loss == Loss::none && part.bytes.size() != bytes))
        return corrupt(at_, "a frame of other pages than the skeleton counts");
    }
    if (total != stripe_.image_bytes) return corrupt(at_, "frames that do not make a stripe of its length");
    return Done{};
  }

  Status one(const Run& run) {
    if (run.pages > 0 && mapped_ != (run.header == 0))
      return corrupt(at_, "pages with records in a sparse image, or without in another");
    if (auto status = skeleton(run.lead); !status) return status;
    for (uint32_t i = 0; i < run.pages; i++) {
      if (i > 0)
        if (auto status = skeleton(run.gap()); !status) return status;
      if (auto status = page(run.source, i == 0 ? run.header : run.gap()); !status) return status;
    }
    return Done{};
  }

  Status skeleton(uint32_t bytes) {
    for (uint32_t done = 0; done < bytes;) {
      const size_t now = std::min<size_t>(bytes - done, kPiece);
      const uint8_t* there = window_.at(at_, now);
      if (!there) return unreadable(at_);
      if (std::memcmp(there, rest_, now) != 0) return differs("bytes between pages");
      rest_ += now, at_ += now, done += now;
    }
    return Done{};
  }

  Status page(uint8_t source, uint32_t header_bytes) {
    bool clear = false;
    if (mapped_) {
      auto is_clear = places_.is_clear(at_);
      if (!is_clear) return is_clear.error();
      clear = *is_clear;
    } else if (!is_page_record(rest_ - header_bytes, header_bytes)) {
      return corrupt(at_, "a page without a page's record in front of it");
    }
    if (auto status = payload(source, clear); !status) return status;
    at_ += kPageSize;
    return Done{};
  }

  /// The header's last bytes were compared with the image before.
  static bool is_page_record(const uint8_t* header, uint32_t bytes) {
    const uint64_t flags = load_be64(header) & kFlagBits;
    if (bytes == kRecordWordBytes) return flags == (kFlagPage | kFlagContinue);
    return flags == kFlagPage && bytes == kRecordWordBytes + 1u + header[kRecordWordBytes];
  }

  Status payload(uint8_t source, bool clear) {
    const StripePart& part = stripe_.parts[source];
    if (part.loss != Loss::none) return Done{};
    const uint8_t* there = window_.at(at_, kPageSize);
    if (!there) return unreadable(at_);
    if (source == kDiskFrame) return referenced(there);
    const uint8_t* from = part.bytes.data() + used_[source];
    if (source != kFillFrame) {
      used_[source] += kPageSize;
      return std::memcmp(there, from, kPageSize) == 0 ? Status(Done{}) : differs("a page");
    }
    used_[source] += sizeof(uint64_t);
    const uint64_t word = load_le<uint64_t>(from);
    const bool equal = load_le<uint64_t>(there) == word && is_fill(there);
    return equal || (clear && word == 0) ? Status(Done{}) : differs("a page that repeats a word");
  }

  /// Pages of one reference follow each other, perhaps with other pages between.
  Status referenced(const uint8_t* page) {
    reference_.insert(reference_.end(), page, page + kPageSize);
    if (reference_.size() < references_[next_].pages * kPageSize) return Done{};
    if (digest_of(reference_) != references_[next_].digest) return differs("a page on a disk");
    reference_.clear();
    next_++;
    return Done{};
  }
  Status finish_reference() const {
    return next_ == references_.size() ? Status(Done{}) : corrupt(at_, "references without pages");
  }

  Error differs(const char* what) const {
    return corrupt(at_, std::string(what) + " that the image does not have there");
  }

  static constexpr size_t kWindow = 256 << 10, kPiece = 64 << 10;
  const StripeParts& stripe_;
  const bool mapped_;
  Places places_;
  Window window_;
  uint64_t at_;
  const uint8_t* rest_ = nullptr;
  std::array<uint64_t, kFrameKinds> used_{};
  std::vector<DiskRun> references_;
  std::vector<uint8_t> reference_;
  size_t next_ = 0;
};

Status check_part(const StripeParts& stripe, size_t kind) {
  const StripePart& part = stripe.parts[kind];
  if (!part.present) return Done{};
  if (kind == kRecoveryFrame || kind == kDiskRecoveryFrame)
    return corrupt(stripe.image_offset, "a recovery frame is not a part of a stripe");
  if (part.loss != Loss::none && !expendable_kind(static_cast<uint8_t>(kind)))
    return corrupt(stripe.image_offset, "critical pages that are not stored");
  return Done{};
}

bool is_zero(const uint8_t* page) { return load_le<uint64_t>(page) == 0 && is_fill(page); }

}  // namespace

Status prove_stripe(const StripeParts& stripe, const ProofImage& image) {
  if (stripe.image_bytes > kMaxFrameBytes || stripe.image_offset > UINT64_MAX - stripe.image_bytes)
    return corrupt(stripe.image_offset, "a stripe longer than any stripe is");
  for (size_t kind = 0; kind < kFrameKinds; kind++)
    if (auto status = check_part(stripe, kind); !status) return status;
  if (!stripe.parts[kSkeletonFrame].present)
    return corrupt(stripe.image_offset, "a stripe without its skeleton");
  return Proof(stripe, image).run();
}

Status prove_zero_pages(uint64_t offset, uint64_t bytes, const ProofImage& image) {
  Places places(image);
  if (auto status = places.check(); !status) return status;
  std::vector<uint8_t> page(kPageSize);
  for (uint64_t at = offset; at < offset + bytes; at += kPageSize) {
    auto is_clear = places.is_clear(at);
    if (!is_clear) return is_clear.error();
    if (*is_clear) continue;
    if (!image.read(at, page)) return unreadable(at);
    if (!is_zero(page.data())) return corrupt(at, "a page of the image where a hole is said to be");
  }
  return Done{};
}

Status prove_recovery(Bytes frame, uint64_t from, uint64_t until) {
  Cursor cursor(frame);
  const uint32_t version = cursor.le32(), count = cursor.le32();
  if (!cursor.ok() || version != 1 || cursor.remaining() != uint64_t{count} * kRecoveryWriteBytes)
    return corrupt(0, "a recovery that cannot be read");
  auto writes = decode_writes(frame.subspan(kRecoveryHeaderBytes));
  if (!writes) return writes.error();
  for (const RecoveryWrite& write : *writes)
    if (write.image_offset < from || write.image_offset >= until)
      return corrupt(write.image_offset, "a recovery that writes outside the pages of the image");
  return Done{};
}

}  // namespace pars
