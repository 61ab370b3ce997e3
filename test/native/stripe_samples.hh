// SPDX-License-Identifier: Apache-2.0
// Images of random records, and stripes cut out of them.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "core/frames/assembly.hh"
#include "core/frames/stripe.hh"
#include "image_builder.hh"

namespace pars::test {

inline constexpr uint64_t kFrames = 6000;

using Random = std::mt19937;

inline uint32_t pick(Random& random, uint32_t below) { return static_cast<uint32_t>(random() % below); }

/// Noise, one repeated word, or the zero page.
inline std::vector<uint8_t> random_page(Random& random) {
  std::vector<uint8_t> page(kPageSize);
  uint64_t word = pick(random, 2) ? 0 : 0xaaaaaaaaaaaaaaaa;
  bool noise = pick(random, 4) != 0;
  for (size_t at = 0; at < page.size(); at += sizeof word) {
    if (noise) word = uint64_t{random()} << 32 | random();
    std::memcpy(&page[at], &word, sizeof word);
  }
  return page;
}

inline void add_record(ImageBuilder& image, Random& random) {
  static const std::string names[] = {"pc.ram", "vga.vram"};
  bool vga = pick(random, 100) == 0, named = vga || pick(random, 50) == 0;
  uint64_t frame = pick(random, vga ? 16 : kFrames);
  bool zero = pick(random, 5) == 0;
  if (named && zero) image.zero_in(names[vga], frame);
  else if (named) image.page_in(names[vga], frame, random_page(random));
  else if (zero) image.zero(frame);
  else image.page(frame, random_page(random));
  if (vga) image.zero_in("pc.ram", frame);
}

struct Sample {
  ImageBuilder image;
  uint64_t stream_offset = 0;
  MigrationStream stream;
  PageClasses classes;

  Bytes bytes() const { return image.view(); }
  uint64_t head_end() const { return stream.stripes.front().image_offset; }
  StripeMap map(const Stripe& stripe) const {
    return map_stripe(bytes(), {stripe.image_offset, stripe.length}, stripe_records(bytes(), stream, stripe),
                      classes);
  }
};

/// Pages sent once, twice or never, in any order, in sections of any length, of random classes.
inline Sample random_image(uint32_t seed, uint32_t records = 7000) {
  Random random(seed);
  Sample sample{image_with_ram(kFrames, &sample.stream_offset), 0, {}, {}};
  sample.image = image_with_ram(kFrames, &sample.stream_offset);
  sample.image.part().zero_in("pc.ram", 0);
  for (uint32_t i = 0; i < records; i++) {
    if (pick(random, 300) == 0) sample.image.eos().part();
    add_record(sample.image, random);
  }
  sample.image.eos().end().eos();
  add_devices(sample.image);
  auto stream = parse_migration_stream(sample.bytes(), sample.stream_offset);
  REQUIRE(stream);
  sample.stream = std::move(*stream);
  for (const RamBlock& block : sample.stream.blocks) {
    auto& classes = sample.classes.emplace_back(block.pages.size());
    for (PageClass& of_page : classes) of_page = static_cast<PageClass>(pick(random, kPageClasses));
  }
  return sample;
}

inline StripeParts parts_of(const StripeMap& map, const std::vector<RawFrame>& frames) {
  StripeParts stripe{map.extent.offset, map.extent.length, {}};
  for (const RawFrame& frame : frames)
    stripe.parts[frame.kind] = {true, Loss::none, frame.bytes.size(), frame.bytes};
  return stripe;
}

inline void lose(StripeParts& stripe, Loss loss) {
  for (uint8_t kind = 0; kind < kFrameKinds; kind++)
    if (expendable_kind(kind) && stripe.parts[kind].present)
      stripe.parts[kind].loss = loss, stripe.parts[kind].bytes = {};
}

inline Result<std::vector<uint8_t>> assemble(const StripeParts& stripe,
                                             std::vector<RecoveryWrite> writes = {}) {
  auto assembly = Assembly::plan(stripe);
  if (!assembly) return assembly.error();
  std::vector<uint8_t> out(assembly->size());
  if (auto status = assembly->write(out, std::move(writes)); !status) return status.error();
  return out;
}

/// One stripe cut, with room to damage it.
struct CutStripe {
  Sample sample;
  StripeMap map;
  std::vector<RawFrame> frames;
  explicit CutStripe(uint32_t seed)
      : sample(random_image(seed)),
        map(sample.map(sample.stream.stripes.front())),
        frames(cut_stripe(sample.bytes(), map)) {}
  StripeParts parts() const { return parts_of(map, frames); }
  RawFrame& frame(uint8_t kind) {
    return *std::find_if(frames.begin(), frames.end(), [&](const RawFrame& f) { return f.kind == kind; });
  }
  uint64_t payload_of(uint8_t source) const {
    return std::find_if(map.payloads.begin(), map.payloads.end(),
                        [&](const auto& p) { return p.source == source; })
        ->offset;
  }
};

}  // namespace pars::test
