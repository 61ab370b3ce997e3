// SPDX-License-Identifier: Apache-2.0
// A sparse image's stream from its first byte: bitmaps, places of pages, and stripes that cover all of it.
#include "core/image/mapped_ram.hh"

#include <cstdlib>

using namespace pars;

namespace {

/// One behind the other, each page's place in one of them and within the image.
void check_stripes(Bytes image, const MigrationStream& stream) {
  uint64_t end = 0, places = 0, pages = 0;
  for (const Stripe& stripe : stream.stripes) {
    if (stripe.image_offset != end || stripe.length == 0) std::abort();
    end += stripe.length;
    places += stripe.hole ? stripe.length / kPageSize : 0;
    for (const PageRecord& record : stripe_records(image, stream, stripe)) {
      if (record.payload < stripe.image_offset || record.payload + kPageSize > end) std::abort();
      ++places;
    }
  }
  for (const RamBlock& block : stream.blocks) pages += block.pages.size();
  if (end != image.size() || places != pages) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes image(data, size);
  const auto stream = parse_mapped_ram(image, 0);
  if (stream) check_stripes(image, *stream);
  else if (stream.error().offset > size) std::abort();
  return 0;
}
