// SPDX-License-Identifier: Apache-2.0
// What a reader that was taken over says of a stripe: whatever is made of it puts together the image's own
// bytes, but for pages that lie on a disk.
#include "core/frames/stripe_copy.hh"

#include <algorithm>
#include <cstdlib>

#include "core/frames/assembly.hh"
#include "core/image/fill.hh"

using namespace pars;

namespace {

constexpr size_t kPages = 24, kTrailer = 40;
constexpr uint64_t kPlaces = 4096;  // of the pages of a sparse image; its header and its bitmap before

/// Records of pages, every third of which repeats a word, and some bytes behind them.
std::vector<uint8_t> with_records() {
  std::vector<uint8_t> image;
  for (size_t page = 0; page < kPages; page++) {
    image.insert(image.end(), {0, 0, 0, 0, 0, 0, uint8_t(page << 4), 0x28});
    for (size_t at = 0; at < kPageSize; at++) image.push_back(page % 3 ? uint8_t(at * page) : 0x11);
  }
  image.resize(image.size() + kTrailer, 'd');
  return image;
}

/// A block of which every second page is there.
std::vector<uint8_t> sparse() {
  std::vector<uint8_t> image(kPlaces + kPages * kPageSize);
  const uint8_t header[28] = {0, 0, 0, 1, 0, 0,  0, 0, 0, 0, 0x10, 0, 0,    0,
                              0, 0, 0, 0, 0, 28, 0, 0, 0, 0, 0,    0, 0x10, 0};
  std::copy(std::begin(header), std::end(header), image.begin());
  for (size_t page = 0; page < kPages; page += 2) {
    image[28 + page / 8] |= uint8_t(1 << page % 8);
    for (size_t at = 0; at < kPageSize; at++) image[kPlaces + page * kPageSize + at] = uint8_t(at * page);
  }
  return image;
}

void check(const std::vector<RawFrame>& frames, const StripePlan& plan, Bytes own) {
  StripeParts parts{plan.image_offset, plan.image_bytes, {}};
  for (const RawFrame& frame : frames) {
    if (frame.kind == kDiskFrame) return;
    parts.parts[frame.kind] = {true, Loss::none, frame.bytes.size(), frame.bytes};
  }
  const auto assembly = Assembly::plan(parts);
  if (!assembly) std::abort();
  std::vector<uint8_t> out(assembly->size());
  if (!assembly->write(out, {})) std::abort();
  if (!std::equal(out.begin(), out.end(), own.begin(), own.end())) std::abort();
}

void copy(Cursor input, Bytes image, uint64_t from, std::vector<MappedPlaces> blocks) {
  const Bytes runs = input.bytes(std::min<uint64_t>(input.le32() % 1024, input.remaining()));
  const StripePlan plan{from, image.size() - from, runs, input.bytes(input.remaining())};
  const auto read = [image](uint64_t offset, std::span<uint8_t> into) {
    if (offset > image.size() || into.size() > image.size() - offset) return false;
    std::copy_n(image.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
    return true;
  };
  const bool has_blocks = !blocks.empty();
  const auto frames = copy_stripe(plan, {read, std::move(blocks)});
  if (frames && !has_blocks) check(*frames, plan, image.subspan(from));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<uint8_t> records = with_records(), places = sparse();
  const Bytes input(data, size);
  copy(Cursor(input), records, 0, {});
  copy(Cursor(input), places, kPlaces, {{28, kPlaces, kPages * kPageSize}});
  return 0;
}
