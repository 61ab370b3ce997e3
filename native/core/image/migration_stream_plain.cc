// SPDX-License-Identifier: Apache-2.0
// The plain twin of the fast walk: one thread, one record at a time, nothing remembered that the answer does
// not need.
#include <algorithm>

#include "core/image/early_section.hh"
#include "core/image/ram_walk.hh"

namespace pars {
namespace {

using stream::RamRecord;

class PlainWalk {
 public:
  PlainWalk(Bytes image, MigrationStream& stream, uint64_t position)
      : image_(image), stream_(stream), position_(position) {}

  Status walk() {
    while (!done_) {
      const Result<RamRecord> record = read_ram_record(image_, position_, stream_.blocks, in_force_);
      if (!record) return record.error();
      if (record->kind != RamRecord::Kind::end) {
        take(*record);
      } else if (Status crossed = cross(); !crossed) {
        return crossed;
      }
    }
    stream_.ram_end = position_;
    return Done{};
  }

 private:
  Status cross() {
    const auto next = stream::cross_sections(image_, position_ + 8, stream_.ram_section, in_end_);
    if (!next) return next.error();
    position_ = next->position, in_end_ = next->is_end, done_ = next->done;
    stream::note_early(stream_.early, next->early);
    return Done{};
  }

  void take(const RamRecord& record) {
    in_force_ = {record.block, stream_.blocks[record.block].pages.size()};
    PageLocation& location = stream_.blocks[record.block].pages[record.page];
    if (location != kZeroPage) ++stream_.repeated_records;
    cut(record);
    if (record.kind == RamRecord::Kind::page) {
      location = position_ + record.header_bytes;
      take_payload(location);
    } else {
      location = kZeroPage;
      ++stream_.zero_records;
    }
    position_ += record.bytes();
  }

  void take_payload(uint64_t payload) {
    ++stream_.payload_records;
    if (stream::begins_vmcoreinfo(&image_[payload]) && stream_.vmcoreinfo.size() < kMaxVmcoreinfo)
      stream_.vmcoreinfo.push_back(payload);
  }

  /// Begins a stripe at the first record behind the head, and at a payload record that finds the last stripe
  /// full.
  void cut(const RamRecord& record) {
    auto& stripes = stream_.stripes;
    const bool page = record.kind == RamRecord::Kind::page;
    const bool first = stripes.empty() && position_ >= kHeadBytes;
    const bool full = !stripes.empty() && page && stripes.back().payload_pages == kStripePages;
    if (first || full) stripes.push_back({position_, 0, record.block, 0});
    if (stripes.empty()) return;
    stripes.back().payload_pages += page;
    stripes.back().length = image_.size() - stripes.back().image_offset;
    if (full) stripes[stripes.size() - 2].length = position_ - stripes[stripes.size() - 2].image_offset;
  }

  Bytes image_;
  MigrationStream& stream_;
  uint64_t position_;
  stream::BlockInForce in_force_;
  bool in_end_ = false, done_ = false;
};

}  // namespace

Result<MigrationStream> parse_migration_stream_plainly(Bytes image, uint64_t stream_offset) {
  MigrationStream stream;
  const Result<uint64_t> first = stream::read_prologue(image, stream_offset, stream);
  if (!first) return first.error();
  if (Status walked = PlainWalk(image, stream, *first).walk(); !walked) return walked.error();
  return stream;
}

}  // namespace pars
