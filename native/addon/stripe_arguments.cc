// SPDX-License-Identifier: Apache-2.0
#include "addon/stripe_arguments.hh"

#include "addon/arguments.hh"
#include "core/frames/frame.hh"

namespace pars::addon {
namespace {

std::optional<Loss> loss_of(const Napi::Value& value) {
  if (value.IsNull()) return Loss::none;
  if (!value.IsString()) return std::nullopt;
  std::string name = value.As<Napi::String>();
  if (name == "packed") return Loss::packed;
  if (name == "in-place") return Loss::in_place;
  return std::nullopt;
}

/// False for a value of another shape, a kind met twice, or a size no frame has.
bool read_frame(const Napi::Value& value, StripeParts& stripe) {
  if (!value.IsObject()) return false;
  auto frame = value.As<Napi::Object>();
  auto kind = whole_number(frame.Get("kind"));
  auto raw_bytes = whole_number(frame.Get("rawBytes"));
  auto loss = loss_of(frame.Get("lost"));
  Napi::Value data = frame.Get("data");
  if (!kind || *kind >= kFrameKinds || !raw_bytes || *raw_bytes > kMaxFrameBytes || !loss) return false;
  StripePart& part = stripe.parts[*kind];
  if (part.present || data.IsNull() != (*loss != Loss::none)) return false;
  if (!data.IsNull() && !data.IsBuffer()) return false;
  part = {true, *loss, *raw_bytes, data.IsNull() ? Bytes{} : *buffer(data)};
  return true;
}

}  // namespace

bool read_frames(const Napi::Value& value, StripeParts& stripe) {
  if (!value.IsArray()) return false;
  auto frames = value.As<Napi::Array>();
  if (frames.Length() > kFrameKinds) return false;
  for (uint32_t i = 0; i < frames.Length(); i++)
    if (!read_frame(frames.Get(i), stripe)) return false;
  return true;
}

Status decompress_parts(StripeParts& stripe, Scratch& scratch) {
  const auto packed = [&](size_t kind) {
    const StripePart& part = stripe.parts[kind];
    return kind != kDiskFrame && part.present && part.loss == Loss::none;
  };
  size_t total = 0, used = 0;
  for (size_t kind = 0; kind < kFrameKinds; kind++) total += packed(kind) ? stripe.parts[kind].raw_bytes : 0;
  uint8_t* memory = scratch.take(total);
  for (size_t kind = 0; kind < kFrameKinds; kind++) {
    if (!packed(kind)) continue;
    StripePart& part = stripe.parts[kind];
    std::span<uint8_t> raw(memory + used, part.raw_bytes);
    if (auto status = decompress(part.bytes, raw); !status) return status;
    part.bytes = raw;
    used += raw.size();
  }
  return Done{};
}

}  // namespace pars::addon
