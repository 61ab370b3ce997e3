// SPDX-License-Identifier: Apache-2.0
#include "core/frames/stripe.hh"

#include <algorithm>
#include <array>

#include "core/frames/run_table.hh"

namespace pars {
namespace {

PageClass class_of(const PageClasses& classes, const PageRecord& record) {
  if (record.block >= classes.size() || record.page >= classes[record.block].size()) return PageClass::kernel;
  return classes[record.block][record.page];
}

bool header_fits(const PageRecord& record) {
  return record.header_bytes == 0 ||
         (record.header_bytes >= kRecordWordBytes && record.header_bytes <= kMaxRecordHeaderBytes);
}

bool record_fits(const PageRecord& record, uint64_t position, uint64_t end) {
  return record.header >= position && record.header < end && header_fits(record) &&
         record.payload == record.header + record.header_bytes && record.payload <= end &&
         end - record.payload >= kPageSize;
}

bool continues(const Run& run, const StripeMap::Payload& payload, uint32_t lead) {
  return run.source == payload.source && (run.header == 0) == (payload.header_bytes == 0) &&
         lead == run.gap() && payload.header_bytes == lead;
}

std::vector<Run> runs_of(const StripeMap& map) {
  std::vector<Run> runs;
  uint64_t position = map.extent.offset;
  for (const StripeMap::Payload& payload : map.payloads) {
    const auto lead = static_cast<uint32_t>(payload.offset - position);
    if (!runs.empty() && continues(runs.back(), payload, lead)) runs.back().pages++;
    else runs.push_back({lead, 1, payload.header_bytes, payload.source});
    position = payload.offset + kPageSize;
  }
  if (position < map.extent.end())
    runs.push_back({static_cast<uint32_t>(map.extent.end() - position), 0, 0, 0});
  return runs;
}

RawFrame skeleton_of(Bytes image, const StripeMap& map) {
  RawFrame frame{kSkeletonFrame, 0, {}};
  encode_runs(runs_of(map), frame.bytes);
  uint64_t position = map.extent.offset;
  const auto keep = [&](uint64_t until) {
    frame.bytes.insert(frame.bytes.end(), image.begin() + static_cast<ptrdiff_t>(position),
                       image.begin() + static_cast<ptrdiff_t>(until));
  };
  for (const StripeMap::Payload& payload : map.payloads) {
    keep(payload.offset);
    position = payload.offset + kPageSize;
  }
  keep(map.extent.end());
  return frame;
}

constexpr std::array<uint8_t, sizeof(uint64_t)> kZeroWord{};

size_t bytes_kept(uint8_t source) {
  return source == kFillFrame ? sizeof(uint64_t) : source == kDiskFrame ? 0 : kPageSize;
}

bool continues(const DiskRun& run, const StripeMap::Payload& payload) {
  return run.pages < kMaxRunPages && run.page_class == payload.page_class &&
         run.place.disk == payload.place.disk &&
         run.place.offset + run.pages * kPageSize == payload.place.offset;
}

/// The references of a stripe, joined into runs; their digests are still to be taken.
std::vector<DiskRun> references_of(const StripeMap& map) {
  std::vector<DiskRun> runs;
  for (const StripeMap::Payload& payload : map.payloads) {
    if (payload.source != kDiskFrame) continue;
    if (runs.empty() || !continues(runs.back(), payload))
      runs.push_back({payload.place, 0, payload.page_class, {}});
    runs.back().pages++;
  }
  return runs;
}

std::vector<uint8_t> digested_references(Bytes image, const StripeMap& map) {
  std::vector<DiskRun> runs = references_of(map);
  auto run = runs.begin();
  std::vector<uint8_t> pages;  // of that run
  for (const StripeMap::Payload& payload : map.payloads) {
    if (payload.source != kDiskFrame) continue;
    const Bytes page = image.subspan(payload.offset, kPageSize);
    pages.insert(pages.end(), page.begin(), page.end());
    if (pages.size() < run->pages * kPageSize) continue;
    (run++)->digest = digest_of(pages);
    pages.clear();
  }
  return encode_references(runs);
}

using FrameTable = std::array<RawFrame, kFrameKinds>;

void plan_frames(FrameTable& frames, const StripeMap& map, FrameKinds wanted) {
  for (const auto& payload : map.payloads) frames[payload.source].pages++;
  for (uint8_t kind = 0; kind < kFrameKinds; kind++) {
    frames[kind].kind = kind;
    if (wanted[kind]) frames[kind].bytes.reserve(frames[kind].pages * bytes_kept(kind));
  }
}

/// Where a stretch that begins at `from` may end: at most kMaxStripeBytes on, but before a record, not within
/// it.
uint64_t split_point(const StripeMap& map, uint64_t from) {
  uint64_t point = from + kMaxStripeBytes;
  auto after = std::partition_point(map.payloads.begin(), map.payloads.end(),
                                    [&](const auto& p) { return p.offset + kPageSize <= point; });
  if (after == map.payloads.end()) return point;
  return std::min(point, after->offset - after->header_bytes);
}

}  // namespace

bool repeats_one_word(const uint8_t* page) {
  constexpr size_t word = sizeof(uint64_t);
  return std::memcmp(page, page + word, word) == 0 && std::memcmp(page, page + word, kPageSize - word) == 0;
}

StripeMap map_stripe(Bytes image, Extent extent, std::span<const PageRecord> records,
                     const PageClasses& classes, std::span<const PageReference> references) {
  StripeMap map{extent, {}};
  map.payloads.reserve(records.size());
  const auto before = [](const PageReference& r, uint64_t payload) { return r.payload < payload; };
  auto reference = std::lower_bound(references.begin(), references.end(), extent.offset, before);
  uint64_t position = extent.offset;
  for (const PageRecord& record : records) {
    if (!record_fits(record, position, extent.end())) continue;
    const bool fill = record.zero || repeats_one_word(&image[record.payload]);
    const PageClass page_class = class_of(classes, record);
    while (reference != references.end() && reference->payload < record.payload) ++reference;
    const bool on_disk = !fill && reference != references.end() && reference->payload == record.payload;
    const uint8_t source = fill ? kFillFrame : on_disk ? kDiskFrame : static_cast<uint8_t>(page_class);
    map.payloads.push_back({record.payload, static_cast<uint16_t>(record.header_bytes), source, record.zero,
                            page_class, on_disk ? reference->place : DiskPlace{}});
    position = record.payload + kPageSize;
  }
  return map;
}

std::vector<StripeMap> split_stripe(StripeMap map) {
  std::vector<StripeMap> parts;
  uint64_t end = map.extent.end();
  auto next = map.payloads.begin();
  for (uint64_t from = map.extent.offset; from < end;) {
    uint64_t until = end - from <= kMaxStripeBytes ? end : split_point(map, from);
    auto last =
        std::partition_point(next, map.payloads.end(), [&](const auto& p) { return p.offset < until; });
    parts.push_back({{from, until - from}, {next, last}});
    next = last;
    from = until;
  }
  return parts;
}

StripeLayout lay_out(const StripeMap& map) {
  StripeLayout layout;
  encode_runs(runs_of(map), layout.runs);
  const std::vector<DiskRun> references = references_of(map);
  if (!references.empty()) layout.references = encode_references(references);
  return layout;
}

std::vector<RawFrame> cut_stripe(Bytes image, const StripeMap& map, FrameKinds wanted) {
  FrameTable payloads;
  plan_frames(payloads, map, wanted);
  for (const auto& payload : map.payloads) {
    if (!wanted[payload.source]) continue;
    Bytes kept = payload.zero ? Bytes(kZeroWord) : image.subspan(payload.offset, bytes_kept(payload.source));
    payloads[payload.source].bytes.insert(payloads[payload.source].bytes.end(), kept.begin(), kept.end());
  }
  std::vector<RawFrame> frames;
  frames.push_back(skeleton_of(image, map));
  if (payloads[kDiskFrame].pages > 0) payloads[kDiskFrame].bytes = digested_references(image, map);
  for (RawFrame& frame : payloads)
    if (frame.pages > 0) frames.push_back(std::move(frame));
  return frames;
}

std::vector<uint64_t> clean_cache_payloads(const StripeMap& map, uint8_t source) {
  std::vector<uint64_t> payloads;
  for (const StripeMap::Payload& p : map.payloads)
    if (p.source == source && p.page_class == PageClass::clean_cache) payloads.push_back(p.offset);
  return payloads;
}

bool targets_are_critical(const StripeMap& map, std::span<const uint64_t> targets) {
  auto target = std::lower_bound(targets.begin(), targets.end(), map.extent.offset);
  auto payload = map.payloads.begin();
  for (; target != targets.end() && *target < map.extent.end(); ++target) {
    while (payload != map.payloads.end() && payload->offset + kPageSize <= *target) ++payload;
    if (payload == map.payloads.end() || *target < payload->offset) return false;
    if (expendable_kind(payload->source) || payload->source == kDiskFrame) return false;
  }
  return true;
}

}  // namespace pars
