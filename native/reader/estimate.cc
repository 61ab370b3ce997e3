// SPDX-License-Identifier: Apache-2.0
#include "reader/estimate.hh"

#include <algorithm>
#include <thread>

#include "core/frames/recovery_frame.hh"
#include "core/frames/stripe.hh"
#include "core/image/fill.hh"

namespace pars::reader {

namespace {

// Of every class stretches of neighbours are taken, evenly over all of it, for that is what frames hold: all
// of a small class, of a large one a share that costs some ten milliseconds.
constexpr uint64_t kStretch = 32, kBatch = 128, kLeastPages = 768, kShare = 48;
// Stripes that are cut for what has no class.
constexpr size_t kStripes = 24;
constexpr uint64_t kIndexStripeBytes = 24, kIndexFrameBytes = 56;

/// Compresses a part of the pages of a class as they go by.
class Sampler {
 public:
  Sampler(uint64_t pages, ClassSample& sample) : sample_(sample) {
    const uint64_t wanted = std::max(kLeastPages, pages / kShare);
    period_ = std::max<uint64_t>(kStretch, kStretch * pages / wanted);
  }
  void add(const uint8_t* page, Compressor& compressor) {
    if ((seen_++ + period_ / 2) % period_ >= kStretch || is_fill(page)) return;
    batch_.insert(batch_.end(), page, page + kPageSize);
    if (batch_.size() >= kBatch * kPageSize) finish(compressor);
  }
  void finish(Compressor& compressor) {
    if (!batch_.empty() && compressor.compress(batch_, out_))
      sample_.compressed += out_.size(), sample_.pages += batch_.size() / kPageSize;
    batch_.clear();
  }

 private:
  ClassSample& sample_;
  uint64_t period_, seen_ = 0;
  std::vector<uint8_t> batch_, out_;
};

void sample_classes(Bytes image, const MigrationStream& stream, const Inspection& inspection,
                    uint64_t head_end, Estimate& estimate) {
  Compressor compressor(kMinLevel);
  std::vector<Sampler> samplers;
  for (size_t c = 0; c < kPageClasses; c++)
    samplers.emplace_back(inspection.counts[c].payload_pages + inspection.counts[c].fill_pages,
                          estimate.classes[c]);
  for (size_t b = 0; b < stream.blocks.size(); b++) {
    for (uint64_t p = 0; p < stream.blocks[b].pages.size(); p++) {
      const PageLocation at = stream.blocks[b].pages[p];
      if (at == kZeroPage) continue;
      const auto c = static_cast<size_t>(inspection.classes[b][p]);
      if (at < head_end) estimate.classes[c].head_pages += !is_fill(image.data() + at);
      else samplers[c].add(image.data() + at, compressor);
    }
  }
  for (Sampler& sampler : samplers) sampler.finish(compressor);
}

/// What a stripe takes beside its classes.
class RestOfStripe {
 public:
  RestOfStripe(Bytes image, const Recovery& recovery) : image_(image), recovery_(recovery) {}

  uint64_t of(const StripeMap& map) {
    uint64_t bytes = kIndexStripeBytes;
    for (const RawFrame& frame : cut_stripe(image_, map, FrameKinds().set(kFillFrame)))
      bytes += kIndexFrameBytes + (frame.kind < kPageClasses ? 0 : compressed(frame.bytes));
    const std::vector<uint64_t> clean =
        clean_cache_payloads(map, static_cast<uint8_t>(PageClass::clean_cache));
    if (!clean.empty())
      bytes +=
          kIndexFrameBytes +
          compressed(encode_recovery(recovery_.writes_within(map.extent.offset, map.extent.end(), &clean)));
    return bytes;
  }

 private:
  uint64_t compressed(Bytes raw) { return compressor_.compress(raw, out_) ? out_.size() : raw.size(); }

  Bytes image_;
  RecoveryIndex recovery_;
  Compressor compressor_{kMinLevel};
  std::vector<uint8_t> out_;
};

/// The head and the last stripe, which has the devices, as they are; of the others some.
uint64_t estimate_rest(Bytes image, const MigrationStream& stream, const Inspection& inspection,
                       uint64_t head_end) {
  RestOfStripe rest(image, inspection.recovery);
  const auto of = [&](const Stripe& stripe) -> uint64_t {
    if (stripe.hole) return kIndexStripeBytes;
    uint64_t bytes = 0;
    for (const StripeMap& map :
         split_stripe(map_stripe(image, {stripe.image_offset, stripe.length},
                                 stripe_records(image, stream, stripe), inspection.classes)))
      bytes += rest.of(map);
    return bytes;
  };
  const uint64_t ends = rest.of({{0, head_end}, {}}) + of(stream.stripes.back());
  const size_t others = stream.stripes.size() - 1, taken = std::min(others, kStripes);
  uint64_t sampled = 0;
  for (size_t i = 0; i < taken; i++) sampled += of(stream.stripes[i * others / taken]);
  return ends + (taken ? sampled * others / taken : 0);
}

}  // namespace

Estimate estimate(Bytes image, const MigrationStream& stream, const Inspection& inspection,
                  uint64_t head_end) {
  Estimate found;
  std::thread rest;
  if (head_end != 0)
    rest = std::thread([&] { found.rest = estimate_rest(image, stream, inspection, head_end); });
  sample_classes(image, stream, inspection, head_end, found);
  if (rest.joinable()) rest.join();
  return found;
}

}  // namespace pars::reader
