// SPDX-License-Identifier: Apache-2.0
#include "core/frames/stripe_copy.hh"

#include <algorithm>
#include <array>
#include <memory>

#include "core/frames/disk_reference.hh"
#include "core/frames/recovery_frame.hh"
#include "core/frames/run_table.hh"
#include "core/image/fill.hh"
#include "core/image/stream_format.hh"

namespace pars {
namespace {

// The header of a block in mapped-ram, right before its bitmap.
constexpr uint64_t kMappedHeaderBytes = 28, kMappedVersion = 1;

Error unreadable(uint64_t offset) { return {ErrorCode::io, offset, "the image cannot be read there"}; }

/// A stretch of the image that is read ahead of what is looked at.
class Window {
 public:
  Window(const ImageSource& image, size_t capacity, uint64_t end)
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
  const ImageSource& image_;
  std::unique_ptr<uint8_t[]> bytes_;
  size_t capacity_;
  uint64_t end_, begin_ = 0;
  size_t filled_ = 0;
};

/// The places of a sparse image's pages, and what its bitmaps say of them.
class Places {
 public:
  explicit Places(const ImageSource& image) : image_(image), bits_(image, kBits, UINT64_MAX) {}

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
  const ImageSource& image_;
  Window bits_;
};

class StripeCopy {
 public:
  StripeCopy(const StripePlan& plan, const ImageSource& image, FrameKinds wanted)
      : plan_(plan),
        wanted_(wanted),
        mapped_(!image.blocks.empty()),
        places_(image),
        window_(image, kWindow, plan.image_offset + plan.image_bytes),
        at_(plan.image_offset) {}

  Result<std::vector<RawFrame>> run() {
    if (auto status = places_.check(); !status) return status.error();
    auto runs = decode_run_table(plan_.runs);
    if (!runs) return runs.error();
    if (auto status = read_references(); !status) return status.error();
    if (auto status = begin(*runs); !status) return status.error();
    for (const Run& run : *runs)
      if (auto status = one(run); !status) return status.error();
    return finish();
  }

 private:
  Status read_references() {
    if (plan_.references.empty()) return Done{};
    auto references = decode_references(plan_.references);
    if (!references) return references.error();
    references_ = std::move(*references);
    return Done{};
  }

  /// All runs together are as long as the stripe; then no step of the walk can leave it.
  Status begin(const std::vector<Run>& runs) {
    uint64_t total = 0, kept = 0, referenced = 0;
    for (const Run& run : runs) {
      frames_[run.source].pages += run.pages;
      kept += run.skeleton_bytes();
      total += run.skeleton_bytes() + uint64_t{run.pages} * kPageSize;
      if (total > plan_.image_bytes) break;
    }
    if (total != plan_.image_bytes) return corrupt(at_, "a layout of another length than its stripe");
    for (const DiskRun& reference : references_) referenced += reference.pages;
    if (frames_[kDiskFrame].pages != referenced)
      return corrupt(at_, "references to other pages than the stripe has on disks");
    for (uint8_t kind = 0; kind < kFrameKinds; kind++) frames_[kind].kind = kind;
    for (size_t kind = 0; kind <= kFillFrame; kind++)
      if (wanted_[kind])
        frames_[kind].bytes.reserve(frames_[kind].pages *
                                    (kind == kFillFrame ? sizeof(uint64_t) : kPageSize));
    auto& skeleton = frames_[kSkeletonFrame].bytes;
    skeleton.reserve(plan_.runs.size() + kept);
    skeleton.assign(plan_.runs.begin(), plan_.runs.end());
    return Done{};
  }

  Status one(const Run& run) {
    if (run.pages > 0 && mapped_ != (run.header == 0))
      return corrupt(at_, "pages with records in a sparse image, or without in another");
    if (auto status = keep(run.lead); !status) return status;
    for (uint32_t i = 0; i < run.pages; i++) {
      if (i > 0)
        if (auto status = keep(run.gap()); !status) return status;
      if (auto status = page(run.source, i == 0 ? run.header : run.gap()); !status) return status;
    }
    return Done{};
  }

  Status keep(uint32_t bytes) {
    auto& skeleton = frames_[kSkeletonFrame].bytes;
    for (uint32_t done = 0; done < bytes;) {
      const size_t now = std::min<size_t>(bytes - done, kPiece);
      const uint8_t* there = window_.at(at_, now);
      if (!there) return unreadable(at_);
      skeleton.insert(skeleton.end(), there, there + now);
      at_ += now, done += now;
    }
    return Done{};
  }

  Status page(uint8_t source, uint32_t header_bytes) {
    bool clear = false;
    if (mapped_) {
      auto is_clear = places_.is_clear(at_);
      if (!is_clear) return is_clear.error();
      clear = *is_clear;
    } else if (!is_page_record(header_bytes)) {
      return corrupt(at_, "a page without a page's record in front of it");
    }
    if (wanted_[source] || source == kDiskFrame)
      if (auto status = payload(source, clear); !status) return status;
    at_ += kPageSize;
    return Done{};
  }

  /// The header is what was kept last.
  bool is_page_record(uint32_t bytes) const {
    const auto& skeleton = frames_[kSkeletonFrame].bytes;
    const uint8_t* header = skeleton.data() + skeleton.size() - bytes;
    const uint64_t flags = load_be64(header) & stream::kFlagMask;
    if (bytes == kRecordWordBytes) return flags == (stream::kRamPage | stream::kRamContinue);
    return flags == stream::kRamPage && bytes == kRecordWordBytes + 1u + header[kRecordWordBytes];
  }

  Status payload(uint8_t source, bool clear) {
    const uint8_t* there = window_.at(at_, kPageSize);
    if (!there) return unreadable(at_);
    if (source == kDiskFrame) return referenced(there);
    auto& bytes = frames_[source].bytes;
    if (source != kFillFrame) {
      bytes.insert(bytes.end(), there, there + kPageSize);
      return Done{};
    }
    if (clear) there = kZeroWord;
    else if (!is_fill(there)) return corrupt(at_, "a page that does not repeat a word as it is said to");
    bytes.insert(bytes.end(), there, there + sizeof(uint64_t));
    return Done{};
  }

  /// Pages of one reference follow each other, perhaps with other pages between.
  Status referenced(const uint8_t* page) {
    reference_.insert(reference_.end(), page, page + kPageSize);
    if (reference_.size() < references_[next_].pages * kPageSize) return Done{};
    references_[next_++].digest = digest_of(reference_);
    reference_.clear();
    return Done{};
  }

  Result<std::vector<RawFrame>> finish() {
    if (!references_.empty()) frames_[kDiskFrame].bytes = encode_references(references_);
    std::vector<RawFrame> present;
    present.push_back(std::move(frames_[kSkeletonFrame]));
    for (RawFrame& frame : frames_)
      if (frame.pages > 0) present.push_back(std::move(frame));
    return present;
  }

  static constexpr size_t kWindow = 256 << 10, kPiece = 64 << 10;
  static constexpr uint8_t kZeroWord[sizeof(uint64_t)] = {};
  const StripePlan& plan_;
  const FrameKinds wanted_;
  const bool mapped_;
  Places places_;
  Window window_;
  uint64_t at_;
  std::array<RawFrame, kFrameKinds> frames_;
  std::vector<DiskRun> references_;
  std::vector<uint8_t> reference_;
  size_t next_ = 0;
};

bool is_zero(const uint8_t* page) { return load_le<uint64_t>(page) == 0 && is_fill(page); }

}  // namespace

Result<std::vector<RawFrame>> copy_stripe(const StripePlan& plan, const ImageSource& image,
                                          FrameKinds wanted) {
  if (plan.image_bytes > kMaxFrameBytes || plan.image_offset > UINT64_MAX - plan.image_bytes)
    return corrupt(plan.image_offset, "a stripe longer than any stripe is");
  for (uint8_t kind = 0; kind < kFrameKinds; kind++)
    if (!wanted[kind] && !expendable_kind(kind))
      return corrupt(plan.image_offset, "critical pages that are not to be stored");
  return StripeCopy(plan, image, wanted).run();
}

Status check_zero_pages(uint64_t offset, uint64_t bytes, const ImageSource& image) {
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

Status check_recovery(Bytes frame, uint64_t from, uint64_t until) {
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
