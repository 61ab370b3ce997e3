// SPDX-License-Identifier: Apache-2.0
// The inner loop: from RAM record to RAM record through a mapped image, a cache line a page. A walk may begin
// in the midst of a stream, before anyone knows which block is in force there; a first walk that arrives at
// that very place adopts it.
#pragma once
#include <atomic>

#include "core/image/stream_format.hh"

namespace pars::stream {

/// A run of page records of one block, kPageRecordBytes apart (a record that names its block is a run of its
/// own).
struct Run {
  uint64_t header = 0;
  uint32_t pages = 0;
  uint32_t block = 0;
};

/// The first record header at or behind kHeadBytes.
struct Tail {
  uint64_t header = UINT64_MAX;
  uint32_t block = 0;
};

/// What a walk met, beside the page indexes.
struct Findings {
  std::vector<Run> runs;
  Tail tail;
  uint64_t payload_records = 0;
  uint64_t zero_records = 0;
  uint64_t repeated_records = 0;
  std::vector<uint64_t> vmcoreinfo;
  std::vector<EarlySection> early;
  FillCandidates fills;

  void add_run(uint64_t header, uint64_t pages, uint32_t block);
  void add_zero(uint64_t header, uint32_t block) { ++zero_records, note_tail(header, block); }
  void note_tail(uint64_t header, uint32_t block) {
    if (header >= kHeadBytes && tail.header == UINT64_MAX) tail = {header, block};
  }
  void note_vmcoreinfo(uint64_t payload) {
    if (vmcoreinfo.size() < kMaxVmcoreinfo) vmcoreinfo.push_back(payload);
  }
};

/// Cuts the image behind its head into stripes; everything a walk found goes in, in stream order.
std::vector<Stripe> cut_stripes(const Findings& findings, uint64_t image_bytes);

/// The payload begins a VMCOREINFO note.
inline bool begins_vmcoreinfo(const uint8_t* payload) {
  return load_le<uint64_t>(payload) == 0x5341454c4552534full /* OSRELEAS */ && payload[8] == 'E' &&
         payload[9] == '=';
}

class alignas(128) RamWalk {  // two of them run side by side: never in one cache line
 public:
  enum class Stop { arrived, ram_end, failed, cancelled };

  /// A walk from the first record on, which writes the stream's own page indexes.
  RamWalk(Bytes image, ImageDescriptor descriptor, MigrationStream& stream, uint64_t position);
  /// A walk from a guessed record, which writes page indexes of its own. It is cancelled at once when there
  /// is no memory for them.
  static RamWalk guessed(Bytes image, ImageDescriptor descriptor, MigrationStream& stream, uint64_t position);

  /// Walks until `stop_at` is reached or passed, the RAM ends, or an error is met (position() then is its
  /// record's).
  Stop walk(uint64_t stop_at, const std::atomic<bool>* cancel = nullptr);
  /// Takes over a guessed walk if it began exactly where this one stands and nothing known here contradicts
  /// it.
  bool adopt(RamWalk& guess);

  uint64_t position() const { return position_; }
  const Error& failure() const { return failure_; }
  Findings& findings() { return findings_; }

 private:
  // Marks, in a guessed walk's own indexes, a page that was sent as zero (no payload lies at offset 1).
  static constexpr PageLocation kSentZero = 1;

  struct Target {
    PageLocation* slots = nullptr;
    uint64_t pages = 0;
    uint64_t lowest = UINT64_MAX, highest = 0;  // pages met, in a guessed walk
  };

  RamWalk(Bytes image, ImageDescriptor descriptor, MigrationStream& stream)
      : image_(image), window_(image, descriptor), stream_(&stream) {
    findings_.fills.reset(image.size());
  }
  bool walk_pages(uint64_t end);
  bool walk_zeros(uint64_t end);
  bool step();
  bool cross();
  bool begin_guess();
  void set_block(uint32_t block) { in_force_ = {block, targets_[block].pages}; }
  void put(Target& target, uint64_t page, PageLocation location);
  bool agrees(const RamWalk& guess) const;
  void merge_pages(const Target& from, Target& into);
  void merge_findings(Findings& later, uint32_t inherited);

  Bytes image_;
  ImageWindow window_;
  MigrationStream* stream_;
  uint64_t began_ = 0;
  uint64_t position_ = 0;
  BlockInForce in_force_;
  bool in_end_ = false;   // inside the RAM's last section
  bool crossed_ = false;  // has crossed into another section
  bool done_ = false;
  PageLocation zero_ = kZeroPage;
  std::vector<Target>
      targets_;  // one a block; in a guessed walk one more, for the block in force at its beginning
  std::vector<PageIndex> own_;
  Findings findings_;
  Error failure_{ErrorCode::truncated, 0, {}};
};

/// parse_migration_stream with the smallest number of RAM bytes that gets a second thread.
Result<MigrationStream> parse_in_two(Bytes image, uint64_t stream_offset, uint64_t two_threads_from,
                                     ImageDescriptor descriptor = {});

}  // namespace pars::stream
