// SPDX-License-Identifier: Apache-2.0
#include "core/frames/assembly.hh"

#include <algorithm>

#include "core/frames/stripe.hh"
#include "core/image/stream_format.hh"

namespace pars {
namespace {

constexpr size_t kZeroPayloadBytes = 1;

std::string kind_name(size_t kind) {
  if (kind < kPageClasses) return kPageClassNames[kind];
  return kind == kFillFrame       ? "fill"
         : kind == kSkeletonFrame ? "skeleton"
         : kind == kDiskFrame     ? "disk"
                                  : "recovery";
}

uint64_t unit_of(size_t kind) { return kind == kFillFrame ? sizeof(uint64_t) : kPageSize; }

Status check_part(const StripeParts& stripe, size_t kind) {
  const StripePart& part = stripe.parts[kind];
  if (!part.present) return Done{};
  if (kind == kRecoveryFrame || kind == kDiskRecoveryFrame)
    return corrupt(stripe.image_offset, "a recovery frame is not a part of a stripe");
  if (part.raw_bytes > kMaxFrameBytes) return corrupt(stripe.image_offset, "a frame larger than any stripe");
  if (part.loss != Loss::none && !expendable_kind(static_cast<uint8_t>(kind)))
    return corrupt(stripe.image_offset,
                   "the " + kind_name(kind) + " frame of a stripe is lost, and it is critical");
  if (part.loss == Loss::none && part.bytes.size() != part.raw_bytes)
    return corrupt(stripe.image_offset, "the " + kind_name(kind) + " frame is not as long as the index says");
  return Done{};
}

Status check_parts(const StripeParts& stripe) {
  if (stripe.image_bytes > kMaxFrameBytes)
    return corrupt(stripe.image_offset, "a stripe longer than any stripe is");
  if (stripe.image_offset > UINT64_MAX - stripe.image_bytes)
    return corrupt(stripe.image_offset, "a stripe past all offsets");
  for (size_t kind = 0; kind < kFrameKinds; kind++)
    if (auto status = check_part(stripe, kind); !status) return status;
  if (!stripe.parts[kSkeletonFrame].present)
    return corrupt(stripe.image_offset, "a stripe without its skeleton");
  return Done{};
}

using PageCounts = std::array<uint64_t, kFrameKinds>;

PageCounts count_pages(const RunTable& table) {
  PageCounts pages{};
  for (const Run& run : table.runs) pages[run.source] += run.pages;
  return pages;
}

Status check_counts(const StripeParts& stripe, const PageCounts& pages) {
  for (size_t kind = 0; kind < kFrameKinds; kind++) {
    if (!payload_kind(static_cast<uint8_t>(kind))) continue;
    uint64_t bytes = stripe.parts[kind].present ? stripe.parts[kind].raw_bytes : 0;
    if (bytes != pages[kind] * unit_of(kind))
      return corrupt(stripe.image_offset, "the skeleton counts " + std::to_string(pages[kind]) +
                                              " pages of " + kind_name(kind) + ", their frame has " +
                                              std::to_string(bytes) + " bytes");
  }
  return Done{};
}

/// Writes one stripe out, run by run. Its inputs were proven to add up, so it checks only what plan() could
/// not see.
class Writer {
 public:
  Writer(const StripeParts& stripe, const RunTable& table, std::span<uint8_t> out,
         std::span<const RecoveryWrite> writes)
      : stripe_(stripe),
        rest_(table.rest.data()),
        out_(out.data()),
        offset_(stripe.image_offset),
        writes_(writes) {}

  Status run(const Run& run) {
    skeleton(run.lead);
    for (uint32_t i = 0; i < run.pages; i++) {
      if (i > 0) skeleton(run.gap());
      if (auto status = page(run.source, i == 0 ? run.header : run.gap()); !status) return status;
    }
    return Done{};
  }

  Status finish() const {
    if (next_write_ < writes_.size()) return misplaced(writes_[next_write_]);
    return Done{};
  }

 private:
  void skeleton(uint32_t bytes) {
    std::memcpy(out_, rest_, bytes);
    rest_ += bytes, out_ += bytes, offset_ += bytes;
  }

  Status page(uint8_t source, uint32_t header_bytes) {
    const StripePart& part = stripe_.parts[source];
    if (part.loss == Loss::packed) return pack(header_bytes);
    payload(part, source);
    // Nothing is written into what a disk holds: it may be lost as expendable payload may.
    auto status = expendable_kind(source) || source == kDiskFrame ? Status(Done{}) : recover();
    out_ += kPageSize, offset_ += kPageSize;
    return status;
  }

  void payload(const StripePart& part, uint8_t source) {
    if (part.loss == Loss::in_place) {
      std::memset(out_, 0, kPageSize);
      return;
    }
    const uint8_t* from = part.bytes.data() + used_[source];
    used_[source] += unit_of(source);
    if (source != kFillFrame) std::memcpy(out_, from, kPageSize);
    else
      for (size_t at = 0; at < kPageSize; at += sizeof(uint64_t))
        std::memcpy(out_ + at, from, sizeof(uint64_t));
  }

  /// Turns the page record just written into a zero record.
  Status pack(uint32_t header_bytes) {
    uint8_t* word = out_ - header_bytes;
    // PAGE and perhaps CONTINUE, nothing else.
    if (header_bytes < kRecordWordBytes ||
        (load_be64(word) & stream::kFlagMask & ~uint64_t{stream::kRamContinue}) != stream::kRamPage)
      return corrupt(offset_ - header_bytes, "a lost page has no page record in front of it");
    word[7] ^= stream::kRamPage | stream::kRamZero;
    *out_ = 0;
    out_ += kZeroPayloadBytes, offset_ += kPageSize;
    return Done{};
  }

  /// Applies the writes that fall into the payload at out_.
  Status recover() {
    for (; next_write_ < writes_.size() && writes_[next_write_].image_offset < offset_ + kPageSize;
         next_write_++) {
      const RecoveryWrite& write = writes_[next_write_];
      if (write.image_offset < offset_) return misplaced(write);
      uint8_t& byte = out_[write.image_offset - offset_];
      byte = (byte & ~write.mask) | write.value;
    }
    return Done{};
  }

  static Error misplaced(const RecoveryWrite& write) {
    return corrupt(write.image_offset, "a recovery write outside critical payload of its stripe");
  }

  const StripeParts& stripe_;
  const uint8_t* rest_;
  uint8_t* out_;
  uint64_t offset_;  ///< in the original image
  std::span<const RecoveryWrite> writes_;
  size_t next_write_ = 0;
  std::array<uint64_t, kFrameKinds> used_{};
};

}  // namespace

Result<Assembly> Assembly::plan(const StripeParts& stripe) {
  if (auto status = check_parts(stripe); !status) return status.error();
  auto table = decode_runs(stripe.parts[kSkeletonFrame].bytes);
  if (!table) return table.error();
  PageCounts pages = count_pages(*table);
  if (auto status = check_counts(stripe, pages); !status) return status.error();
  uint64_t total = table->rest.size(), saved = 0;
  for (size_t kind = 0; kind < kFrameKinds; kind++) {
    total += pages[kind] * kPageSize;
    if (stripe.parts[kind].loss == Loss::packed) saved += pages[kind] * (kPageSize - kZeroPayloadBytes);
  }
  if (total != stripe.image_bytes)
    return corrupt(stripe.image_offset, "frames make " + std::to_string(total) + " bytes, the stripe has " +
                                            std::to_string(stripe.image_bytes));
  Assembly assembly(stripe, std::move(*table));
  assembly.size_ = total - saved;
  return assembly;
}

Status Assembly::write(std::span<uint8_t> out, std::vector<RecoveryWrite> writes) const {
  if (out.size() != size_) return Error{ErrorCode::bad_length, 0, "a buffer of another size than the stripe"};
  std::stable_sort(writes.begin(), writes.end(),
                   [](const auto& a, const auto& b) { return a.image_offset < b.image_offset; });
  Writer writer(stripe_, table_, out, writes);
  for (const Run& run : table_.runs)
    if (auto status = writer.run(run); !status) return status;
  return writer.finish();
}

}  // namespace pars
