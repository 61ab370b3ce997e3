// SPDX-License-Identifier: Apache-2.0
#include "core/image/ram_walk.hh"

#include <algorithm>

#include "core/image/early_section.hh"

namespace pars::stream {
namespace {

constexpr uint64_t kPlainPage = kRamPage | kRamContinue;
constexpr uint64_t kPlainZero = kRamZero | kRamContinue;
// A walk looks up (has it been cancelled?) after this many pages.
constexpr uint64_t kBreath = 4096;
// Far enough ahead that a page's first cache line has come from memory when its turn is there.
constexpr uint64_t kPrefetchBytes = 8 * kPageRecordBytes;

}  // namespace

void Findings::add_run(uint64_t header, uint64_t pages, uint32_t block) {
  payload_records += pages;
  const bool goes_on = !runs.empty() && runs.back().block == block &&
                       runs.back().header + runs.back().pages * kPageRecordBytes == header &&
                       runs.back().pages + pages <= UINT32_MAX;
  if (goes_on) runs.back().pages += uint32_t(pages);
  else runs.push_back({header, uint32_t(pages), block});
  const uint64_t before =
      header < kHeadBytes ? (kHeadBytes - header + kPageRecordBytes - 1) / kPageRecordBytes : 0;
  if (before < pages) note_tail(header + before * kPageRecordBytes, block);
}

std::vector<Stripe> cut_stripes(const Findings& findings, uint64_t image_bytes) {
  std::vector<Stripe> stripes;
  if (findings.tail.header == UINT64_MAX) return stripes;
  stripes.push_back({findings.tail.header, 0, findings.tail.block, 0});
  for (const Run& run : findings.runs) {
    const uint64_t in_head =
        run.header < findings.tail.header
            ? (findings.tail.header - run.header + kPageRecordBytes - 1) / kPageRecordBytes
            : 0;
    for (uint64_t page = in_head; page < run.pages;) {
      if (stripes.back().payload_pages == kStripePages)
        stripes.push_back({run.header + page * kPageRecordBytes, 0, run.block, 0});
      const uint64_t taken =
          std::min<uint64_t>(run.pages - page, kStripePages - stripes.back().payload_pages);
      stripes.back().payload_pages += uint32_t(taken);
      page += taken;
    }
  }
  for (size_t i = 0; i < stripes.size(); ++i)
    stripes[i].length =
        (i + 1 < stripes.size() ? stripes[i + 1].image_offset : image_bytes) - stripes[i].image_offset;
  return stripes;
}

RamWalk::RamWalk(Bytes image, ImageDescriptor descriptor, MigrationStream& stream, uint64_t position)
    : RamWalk(image, descriptor, stream) {
  began_ = position_ = position;
  for (RamBlock& block : stream.blocks) targets_.push_back({block.pages.data(), block.pages.size()});
}

RamWalk RamWalk::guessed(Bytes image, ImageDescriptor descriptor, MigrationStream& stream,
                         uint64_t position) {
  RamWalk walk(image, descriptor, stream);
  walk.began_ = walk.position_ = position;
  walk.zero_ = kSentZero;
  if (!walk.begin_guess()) walk.began_ = UINT64_MAX;
  return walk;
}

// The block in force is unknown here: a last target, as large as the largest block, stands for it.
bool RamWalk::begin_guess() {
  uint64_t largest = 0, total = 0;
  for (const RamBlock& block : stream_->blocks) total += block.bytes;
  const bool dense = total / kDenseRam <= image_.size();
  own_.resize(stream_->blocks.size() + 1);
  for (size_t i = 0; i < own_.size(); ++i) {
    const uint64_t pages = i < stream_->blocks.size() ? stream_->blocks[i].pages.size() : largest;
    largest = std::max(largest, pages);
    if (!own_[i].reset(pages, dense)) return false;
    targets_.push_back({own_[i].data(), pages});
  }
  set_block(uint32_t(own_.size() - 1));
  return true;
}

RamWalk::Stop RamWalk::walk(uint64_t stop_at, const std::atomic<bool>* cancel) {
  if (began_ == UINT64_MAX) return Stop::cancelled;
  const uint64_t end = std::min<uint64_t>(image_.size(), stop_at);
  while (!done_) {
    if (position_ >= stop_at) return Stop::arrived;
    if (cancel && cancel->load(std::memory_order_relaxed)) return Stop::cancelled;
    if (walk_pages(end) || walk_zeros(end)) continue;
    if (!step()) return Stop::failed;
  }
  return Stop::ram_end;
}

/// Page records of the block in force, as many as follow each other before `end`.
bool RamWalk::walk_pages(uint64_t end) {
  if (in_force_.block == kNoBlock || position_ >= end) return false;
  Target& target = targets_[in_force_.block];
  PageLocation* const slots = target.slots;
  const uint64_t pages = target.pages, first = position_;
  const Bytes view = window_.from(first, kPageRecordBytes);
  const bool near = window_.buffered();
  const uint64_t most = std::min({(end - first) / kPageRecordBytes, view.size() / kPageRecordBytes, kBreath});
  uint64_t at = first, repeated = 0, lowest = target.lowest, highest = target.highest;
  for (uint64_t left = most; left; --left, at += kPageRecordBytes) {
    const uint8_t* const record = view.data() + (at - first);
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(record) + kPrefetchBytes));
    const uint64_t word = load_be64(record), page = word / kPageSize;
    if ((word & kFlagMask) != kPlainPage || page >= pages) break;
    if (begins_vmcoreinfo(record + 8)) [[unlikely]]
      findings_.note_vmcoreinfo(at + 8);
    if (near ? is_fill(record + 8) : may_be_fill(record + 8)) findings_.fills.note(at + 8);
    repeated += slots[page] > kSentZero;
    slots[page] = at + 8;
    lowest = std::min(lowest, page);
    highest = std::max(highest, page);
  }
  if (at == first) return false;
  target.lowest = lowest, target.highest = highest;
  findings_.repeated_records += repeated;
  findings_.add_run(first, (at - first) / kPageRecordBytes, in_force_.block);
  window_.walked(at - first);
  position_ = at;
  return true;
}

/// Zero records of the block in force.
bool RamWalk::walk_zeros(uint64_t end) {
  if (in_force_.block == kNoBlock || position_ >= end) return false;
  Target& target = targets_[in_force_.block];
  const uint64_t first = position_;
  uint64_t left = std::min((end - first) / kZeroRecordBytes, kBreath);
  for (; left; --left, position_ += kZeroRecordBytes) {
    const uint8_t* const record = image_.data() + position_;
    const uint64_t word = load_be64(record), page = word / kPageSize;
    if ((word & kFlagMask) != kPlainZero || page >= target.pages || record[8]) break;
    put(target, page, zero_);
    findings_.add_zero(position_, in_force_.block);
  }
  return position_ != first;
}

void RamWalk::put(Target& target, uint64_t page, PageLocation location) {
  PageLocation& slot = target.slots[page];
  findings_.repeated_records += slot > kSentZero;
  if (slot != location) slot = location;  // a page of the index that is only read costs no memory
  target.lowest = std::min(target.lowest, page);
  target.highest = std::max(target.highest, page);
}

/// Any one record, with every check.
bool RamWalk::step() {
  const Result<RamRecord> record = read_ram_record(image_, position_, stream_->blocks, in_force_);
  if (!record) return failure_ = record.error(), false;
  if (record->kind == RamRecord::Kind::end) return cross();
  set_block(record->block);
  if (record->kind == RamRecord::Kind::zero) {
    put(targets_[record->block], record->page, zero_);
    findings_.add_zero(position_, record->block);
  } else {
    const uint64_t payload = position_ + record->header_bytes;
    if (begins_vmcoreinfo(image_.data() + payload)) findings_.note_vmcoreinfo(payload);
    if (may_be_fill(image_.data() + payload)) findings_.fills.note(payload);
    put(targets_[record->block], record->page, payload);
    findings_.add_run(position_, 1, record->block);
  }
  position_ += record->bytes();
  return true;
}

bool RamWalk::cross() {
  const Result<NextSection> next = cross_sections(image_, position_ + 8, stream_->ram_section, in_end_);
  if (!next) return failure_ = next.error(), false;
  position_ = next->position;
  in_end_ = next->is_end;
  done_ = next->done;
  note_early(findings_.early, next->early);
  crossed_ = true;
  return true;
}

/// A guessed walk did what this one would have done from here, if the block it took for granted holds every
/// page it met, and if it was right that the section it began in was not the last.
bool RamWalk::agrees(const RamWalk& guess) const {
  const Target& inherited = guess.targets_.back();
  if (guess.began_ != position_ || done_ || (guess.crossed_ && in_end_)) return false;
  return inherited.lowest == UINT64_MAX ||
         (in_force_.block != kNoBlock && inherited.highest < in_force_.pages);
}

bool RamWalk::adopt(RamWalk& guess) {
  if (!agrees(guess)) return false;
  const uint32_t unnamed = uint32_t(guess.targets_.size() - 1), inherited = in_force_.block;
  if (inherited != kNoBlock) merge_pages(guess.targets_[unnamed], targets_[inherited]);
  for (uint32_t i = 0; i < unnamed; ++i) merge_pages(guess.targets_[i], targets_[i]);
  merge_findings(guess.findings_, inherited);
  if (guess.in_force_.block != unnamed) set_block(guess.in_force_.block);
  if (guess.crossed_) in_end_ = guess.in_end_, crossed_ = true;
  position_ = guess.position_;
  done_ = guess.done_;
  return true;
}

void RamWalk::merge_pages(const Target& from, Target& into) {
  if (from.lowest == UINT64_MAX) return;
  uint64_t repeated = 0;
  for (uint64_t page = from.lowest; page <= from.highest; ++page) {
    const PageLocation later = from.slots[page];
    if (later == 0) continue;
    repeated += into.slots[page] > kSentZero;
    if (later != kSentZero) into.slots[page] = later;
    else if (into.slots[page]) into.slots[page] = kZeroPage;
  }
  findings_.repeated_records += repeated;
}

void RamWalk::merge_findings(Findings& later, uint32_t inherited) {
  const uint32_t unnamed = uint32_t(targets_.size());
  const auto resolve = [&](uint32_t block) { return block == unnamed ? inherited : block; };
  for (Run& run : later.runs) run.block = resolve(run.block);
  findings_.runs.insert(findings_.runs.end(), later.runs.begin(), later.runs.end());
  if (later.tail.header != UINT64_MAX) findings_.note_tail(later.tail.header, resolve(later.tail.block));
  findings_.payload_records += later.payload_records;
  findings_.zero_records += later.zero_records;
  findings_.repeated_records += later.repeated_records;
  for (uint64_t payload : later.vmcoreinfo) findings_.note_vmcoreinfo(payload);
  note_early(findings_.early, later.early);
  findings_.fills.merge(later.fills);
}

}  // namespace pars::stream
