// SPDX-License-Identifier: Apache-2.0
// The stream from its first byte: two walks at once must say what one slow one says.
#include <cstdio>
#include <cstdlib>

#include "core/image/ram_walk.hh"
#include "stream_compare.hh"

using namespace pars;

namespace {

void check_stripes(Bytes image, const MigrationStream& stream) {
  for (const Stripe& stripe : stream.stripes)
    if (stripe_records(image, stream, stripe).size() != stripe.payload_pages) std::abort();
}

/// Comparing page by page what a few bytes announced is the fuzzer's time, not the parser's.
bool comparable(const Result<MigrationStream>& stream) {
  uint64_t bytes = 0;
  if (stream)
    for (const RamBlock& block : stream->blocks) bytes += block.bytes;
  return bytes <= 64ull << 20;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes image(data, size);
  const auto fast = stream::parse_in_two(image, 0, 0);
  const auto plain = parse_migration_stream_plainly(image, 0);
  if (!fast && fast.error().offset > size) std::abort();
  if (!comparable(fast) || !comparable(plain)) return 0;
  if (const std::string difference = test::difference(fast, plain); !difference.empty()) {
    std::fprintf(stderr, "the walks differ in %s\n", difference.c_str());
    std::abort();
  }
  if (fast) check_stripes(image, *fast);
  return 0;
}
