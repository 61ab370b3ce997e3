// SPDX-License-Identifier: Apache-2.0
#include "reader/packing.hh"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "core/frames/recovery_frame.hh"
#include "core/frames/stripe.hh"
#include "reader/channel.hh"

namespace pars::reader {

namespace {

constexpr unsigned kWorkers = 2;
constexpr size_t kWindow = 4;  // units finished or in work ahead of the one being sent: bounds memory

struct PackedFrame {
  uint8_t kind;
  uint32_t pages;
  uint32_t raw_bytes;
  std::vector<uint8_t> bytes;  // empty: not stored
};
struct PackedStripe {
  Extent extent;
  std::vector<PackedFrame> frames;
};
using Unit = std::vector<PackedStripe>;

/// Cuts and compresses; one for each worker, since a compressor is.
class Packer {
 public:
  Packer(Bytes image, const RecoveryIndex* recovery, const std::vector<uint64_t>& targets,
         const PackRequest& request)
      : image_(image),
        recovery_(recovery),
        targets_(targets),
        request_(request),
        compressor_(request.level) {}

  Result<Unit> pack(std::vector<StripeMap> maps) {
    Unit unit;
    for (const StripeMap& map : maps) {
      if (!targets_are_critical(map, targets_))
        return Error{ErrorCode::bad_offset, map.extent.offset,
                     "a recovery would change bytes that may be lost themselves"};
      PackedStripe stripe{map.extent, {}};
      if (map.hole) {
        unit.push_back(std::move(stripe));
        continue;
      }
      for (const RawFrame& frame : cut_stripe(image_, map))
        if (Status done = add(frame, stripe); !done) return done.error();
      if (Status done = add_recovery(map, stripe); !done) return done.error();
      unit.push_back(std::move(stripe));
    }
    return unit;
  }

 private:
  Status add(const RawFrame& frame, PackedStripe& stripe) {
    PackedFrame packed{frame.kind, frame.pages, static_cast<uint32_t>(frame.bytes.size()), {}};
    const bool stored = frame.kind >= kPageClasses || request_.stored[frame.kind];
    if (stored)
      if (Status done = compressor_.compress(frame.bytes, packed.bytes); !done) return done;
    stripe.frames.push_back(std::move(packed));
    return Done{};
  }

  /// Clean cache may be lost, in the store and on the disks: what then becomes due is kept apart, so that
  /// what is lost of the one makes the guest read nothing of the other again.
  Status add_recovery(const StripeMap& map, PackedStripe& stripe) {
    if (Status done =
            add_recovery_of(static_cast<uint8_t>(PageClass::clean_cache), kRecoveryFrame, map, stripe);
        !done)
      return done;
    return add_recovery_of(kDiskFrame, kDiskRecoveryFrame, map, stripe);
  }
  Status add_recovery_of(uint8_t source, uint8_t kind, const StripeMap& map, PackedStripe& stripe) {
    const std::vector<uint64_t> payloads = clean_cache_payloads(map, source);
    if (payloads.empty() || !recovery_) return Done{};
    return add(
        {kind, 0,
         encode_recovery(recovery_->writes_within(stripe.extent.offset, stripe.extent.end(), &payloads))},
        stripe);
  }

  Bytes image_;
  const RecoveryIndex* recovery_;
  const std::vector<uint64_t>& targets_;
  const PackRequest& request_;
  Compressor compressor_;
};

void send_unit(const Unit& unit) {
  for (const PackedStripe& stripe : unit) {
    const uint64_t extent[2] = {stripe.extent.offset, stripe.extent.length};
    const uint32_t count = stripe.frames.size();
    send(Message::stripe,
         {{reinterpret_cast<const uint8_t*>(extent), 16}, {reinterpret_cast<const uint8_t*>(&count), 4}});
    for (const PackedFrame& frame : stripe.frames) {
      uint8_t head[12] = {frame.kind};
      std::memcpy(head + 4, &frame.pages, 4);
      std::memcpy(head + 8, &frame.raw_bytes, 4);
      send(Message::frame, {{head, sizeof head}, frame.bytes});
    }
  }
}

/// Units are made by the workers in any order and sent by this thread in theirs.
class Line {
 public:
  using Maps = std::function<std::vector<StripeMap>(size_t)>;
  Line(size_t units, Maps maps, std::function<Packer()> packer)
      : units_(units), maps_(std::move(maps)), packer_(std::move(packer)) {}

  Status run(uint64_t image_bytes) {
    std::vector<std::thread> workers;
    for (unsigned i = 0; i < kWorkers; i++) workers.emplace_back([this] { work(); });
    Status result = deliver(image_bytes);
    stop();
    for (auto& worker : workers) worker.join();
    return result;
  }

 private:
  void work() {
    Packer packer = packer_();
    for (;;) {
      size_t mine;
      {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [this] { return stopped_ || next_ >= units_ || next_ < sent_ + kWindow; });
        if (stopped_ || next_ >= units_) return;
        mine = next_++;
      }
      Result<Unit> unit = packer.pack(maps_(mine));
      std::lock_guard lock(mutex_);
      ready_.emplace(mine, std::move(unit));
      done_.notify_one();
    }
  }

  Status deliver(uint64_t image_bytes) {
    for (size_t i = 0; i < units_; i++) {
      std::unique_lock lock(mutex_);
      done_.wait(lock, [&] { return ready_.contains(i); });
      Result<Unit> unit = std::move(ready_.at(i));
      ready_.erase(i);
      lock.unlock();
      if (!unit) return unit.error();
      send_unit(*unit);
      if (!unit->empty()) send_progress("pack", unit->back().extent.end(), image_bytes);
      lock.lock();
      sent_ = i + 1;
      room_.notify_all();
    }
    return Done{};
  }

  void stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    room_.notify_all();
  }

  size_t units_;
  Maps maps_;
  std::function<Packer()> packer_;
  std::mutex mutex_;
  std::condition_variable room_, done_;
  std::map<size_t, Result<Unit>> ready_;
  size_t next_ = 0, sent_ = 0;
  bool stopped_ = false;
};

std::vector<StripeMap> blind_map(uint64_t unit, uint64_t image_bytes) {
  const uint64_t offset = unit * kBlindStripeBytes;
  return {StripeMap{{offset, std::min(kBlindStripeBytes, image_bytes - offset)}, {}}};
}

}  // namespace

Status send_stripes(Bytes image, const MigrationStream* stream, const Inspection* inspection,
                    uint64_t head_end, const PackRequest& request, std::vector<PageReference> references) {
  const bool blind = !stream || !inspection || head_end == 0;
  std::optional<RecoveryIndex> recovery;
  std::vector<uint64_t> targets;
  if (!blind) {
    recovery.emplace(inspection->recovery);
    targets = recovery->targets();
  }
  const auto maps = [&](size_t unit) -> std::vector<StripeMap> {
    if (blind) return blind_map(unit, image.size());
    if (unit == 0) return {StripeMap{{0, head_end}, {}}};
    const Stripe& stripe = stream->stripes[unit - 1];
    if (stripe.hole) return {StripeMap{{stripe.image_offset, stripe.length}, {}, true}};
    const auto records = stripe_records(image, *stream, stripe);
    return split_stripe(
        map_stripe(image, {stripe.image_offset, stripe.length}, records, inspection->classes, references));
  };
  const auto packer = [&] { return Packer(image, recovery ? &*recovery : nullptr, targets, request); };
  const size_t units =
      blind ? (image.size() + kBlindStripeBytes - 1) / kBlindStripeBytes : stream->stripes.size() + 1;
  return Line(units, maps, packer).run(image.size());
}

}  // namespace pars::reader
