// SPDX-License-Identifier: Apache-2.0
#include "core/image/migration_stream.hh"

#include <pthread.h>

#include "core/image/early_section.hh"
#include "core/image/mapped_ram.hh"
#include "core/image/ram_walk.hh"

namespace pars {
namespace {

using stream::RamWalk;

// A shorter image is walked sooner than a thread is started.
constexpr uint64_t kWorthTwoThreads = 32u << 20;
// How far behind the middle a chain of records is looked for, and how many must follow each other.
constexpr uint64_t kSearchBytes = 1u << 20;
constexpr int kChainRecords = 16;

bool begins_chain(Bytes image, uint64_t position, const std::vector<RamBlock>& blocks,
                  stream::BlockInForce any) {
  for (int i = 0; i < kChainRecords; ++i) {
    const Result<stream::RamRecord> record = stream::read_ram_record(image, position, blocks, any);
    if (!record || record->kind == stream::RamRecord::Kind::end) return false;
    position += record->bytes();
  }
  return true;
}

/// A place that looks like a record's header and is followed by more of them, or 0. It may be a guest's
/// forgery.
uint64_t find_chain(Bytes image, uint64_t from, const std::vector<RamBlock>& blocks) {
  stream::BlockInForce any{uint32_t(blocks.size()), 0};
  for (const RamBlock& block : blocks) any.pages = std::max<uint64_t>(any.pages, block.pages.size());
  const uint64_t end = std::min(from + kSearchBytes, uint64_t(image.size() - 8));
  for (uint64_t at = from; at < end; ++at) {
    if (image[at + 7] != (stream::kRamPage | stream::kRamContinue)) continue;
    if (load_be64(&image[at]) / kPageSize < any.pages && begins_chain(image, at, blocks, any)) return at;
  }
  return 0;
}

/// The second thread: walks from a guessed record to the end, or until it is called off.
class Helper {
 public:
  Helper(Bytes image, ImageDescriptor descriptor, MigrationStream& stream, uint64_t began)
      : began_(began), walk_(RamWalk::guessed(image, descriptor, stream, began)) {
    running_ = pthread_create(&thread_, nullptr, &Helper::run, this) == 0;
  }
  ~Helper() {
    cancel_ = true;
    join();
  }
  Helper(const Helper&) = delete;

  bool running() const { return running_; }
  uint64_t began() const { return began_; }
  RamWalk& result() {
    join();
    return walk_;
  }

 private:
  static void* run(void* self) {
    Helper& helper = *static_cast<Helper*>(self);
    (void)helper.walk_.walk(UINT64_MAX, &helper.cancel_);
    return nullptr;
  }
  void join() {
    if (running_) pthread_join(thread_, nullptr);
    running_ = false;
  }

  uint64_t began_;
  RamWalk walk_;
  alignas(128) std::atomic<bool> cancel_ = false;
  pthread_t thread_{};
  bool running_ = false;
};

/// Both halves at once. Whatever the helper found counts only if this walk arrives where it began.
RamWalk::Stop walk_in_two(Bytes image, ImageDescriptor descriptor, MigrationStream& stream, RamWalk& walk,
                          uint64_t middle) {
  Helper helper(image, descriptor, stream, middle);
  if (!helper.running()) return walk.walk(UINT64_MAX);
  const RamWalk::Stop stop = walk.walk(middle);
  if (stop != RamWalk::Stop::arrived) return stop;
  if (walk.position() == middle) (void)walk.adopt(helper.result());
  return RamWalk::Stop::arrived;
}

RamWalk::Stop walk_ram(Bytes image, ImageDescriptor descriptor, MigrationStream& stream, RamWalk& walk,
                       uint64_t two_threads_from) {
  const uint64_t begin = walk.position(), bytes = image.size() - begin;
  const uint64_t middle =
      bytes >= two_threads_from && bytes > 16 ? find_chain(image, begin + bytes / 2, stream.blocks) : 0;
  if (middle) {
    const RamWalk::Stop stop = walk_in_two(image, descriptor, stream, walk, middle);
    if (stop != RamWalk::Stop::arrived) return stop;
  }
  return walk.walk(UINT64_MAX);
}

void take_findings(MigrationStream& stream, stream::Findings& findings, uint64_t image_bytes) {
  stream.stripes = stream::cut_stripes(findings, image_bytes);
  stream.payload_records = findings.payload_records;
  stream.zero_records = findings.zero_records;
  stream.repeated_records = findings.repeated_records;
  stream::note_early(stream.early, findings.early);
  stream.vmcoreinfo = std::move(findings.vmcoreinfo);
  stream.fills = std::move(findings.fills);
}

}  // namespace

Result<MigrationStream> stream::parse_in_two(Bytes image, uint64_t stream_offset, uint64_t two_threads_from,
                                             ImageDescriptor descriptor) {
  MigrationStream stream;
  const Result<uint64_t> first = read_prologue(image, stream_offset, stream);
  if (!first) return first.error();
  RamWalk walk(image, descriptor, stream, *first);
  if (walk_ram(image, descriptor, stream, walk, two_threads_from) != RamWalk::Stop::ram_end)
    return walk.failure();
  stream.ram_end = walk.position();
  take_findings(stream, walk.findings(), image.size());
  return stream;
}

Result<MigrationStream> parse_migration_stream(Bytes image, uint64_t stream_offset,
                                               ImageDescriptor descriptor) {
  return stream::parse_in_two(image, stream_offset, kWorthTwoThreads, descriptor);
}

std::vector<PageRecord> stripe_records(Bytes image, const MigrationStream& stream, const Stripe& stripe) {
  if (stream.mapped) return mapped_records(stream, stripe);
  std::vector<PageRecord> records;
  if (stripe.block >= stream.blocks.size()) return records;
  records.reserve(std::min(stripe.payload_pages, kStripePages));
  stream::BlockInForce in_force{stripe.block, stream.blocks[stripe.block].pages.size()};
  const uint64_t end = std::min(stripe.image_offset + stripe.length, stream.ram_end);
  for (uint64_t at = stripe.image_offset; at < end;) {
    const Result<stream::RamRecord> record = stream::read_ram_record(image, at, stream.blocks, in_force);
    if (!record) break;
    if (record->kind == stream::RamRecord::Kind::end) {
      const bool last = at + 8 + stream::kFooterBytes == stream.ram_end;
      const auto next = stream::cross_sections(image, at + 8, stream.ram_section, last);
      if (!next || next->done) break;
      at = next->position;
      continue;
    }
    in_force = {record->block, stream.blocks[record->block].pages.size()};
    if (record->kind == stream::RamRecord::Kind::page)
      records.push_back({at, record->header_bytes, at + record->header_bytes, record->block, record->page});
    at += record->bytes();
  }
  return records;
}

}  // namespace pars
