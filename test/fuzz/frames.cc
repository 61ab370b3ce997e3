// SPDX-License-Identifier: Apache-2.0
// What comes out of a store: a zstd frame, a stripe of frames that do not belong together, the writes of a
// recovery.
#include <cstdlib>

#include "core/frames/assembly.hh"
#include "core/frames/recovery_frame.hh"

using namespace pars;

namespace {

constexpr uint64_t kMostBytes = 1 << 20;  // of one frame here; the product allows kMaxFrameBytes

/// A part of a stripe: its length in the input, its bytes, and what became of it.
StripePart part_of(Cursor& input) {
  StripePart part;
  const uint8_t how = input.u8();
  part.present = how & 1, part.loss = static_cast<Loss>((how >> 1) % 3);
  part.raw_bytes = input.le32() % kMostBytes;
  if (part.present && part.loss == Loss::none)
    part.bytes = input.bytes(std::min(part.raw_bytes, input.remaining()));
  return part;
}

void assemble(Cursor input) {
  StripeParts stripe;
  stripe.image_offset = input.le64(), stripe.image_bytes = input.le32() % (4 * kMostBytes);
  for (uint8_t n = input.u8() % 6; n > 0; n--) stripe.parts[input.u8() % kFrameKinds] = part_of(input);
  const auto writes = decode_writes(input.bytes(input.u8() * kRecoveryWriteBytes));
  const auto assembly = Assembly::plan(stripe);
  if (!assembly) return;
  if (assembly->size() > stripe.image_bytes) std::abort();
  std::vector<uint8_t> out(assembly->size());
  (void)assembly->write(out, writes ? *writes : std::vector<RecoveryWrite>{});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input(data, size);
  (void)decode_runs(input);
  (void)decode_writes(input);
  Cursor cursor(input);
  std::vector<uint8_t> out(cursor.le32() % kMostBytes);
  (void)decompress(input.subspan(cursor.position()), out);
  assemble(Cursor(input));
  return 0;
}
