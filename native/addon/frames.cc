// SPDX-License-Identifier: Apache-2.0
#include "addon/arguments.hh"
#include "addon/functions.hh"
#include "addon/scratch.hh"
#include "addon/stripe_arguments.hh"
#include "addon/work.hh"
#include "core/frames/assembly.hh"
#include "core/frames/frame.hh"
#include "core/frames/recovery_frame.hh"
#include "core/frames/stripe.hh"

namespace pars::addon {
namespace {

constexpr const char* kStripeShape =
    "{imageOffset, imageBytes, frames: [{kind, data, rawBytes, lost}], writes, into?}";

Failure out_of_memory() { return {"ENOMEM", "no memory for a frame"}; }

class CompressWork final : public Work {
 public:
  CompressWork(Napi::Env env, Bytes data, int level) : Work(env), data_(data), level_(level) {}

 private:
  std::optional<Failure> run() override {
    auto status = Compressor(level_).compress(data_, frame_);
    if (!status) return core_failure(status.error());
    return std::nullopt;
  }
  Napi::Value answer(Napi::Env env) override {
    return Napi::Buffer<uint8_t>::Copy(env, frame_.data(), frame_.size());
  }
  Bytes data_;
  int level_;
  std::vector<uint8_t> frame_;
};

class DecompressWork final : public Work {
 public:
  DecompressWork(Napi::Env env, Bytes frame, size_t raw_bytes)
      : Work(env), frame_(frame), raw_bytes_(raw_bytes) {}

 private:
  std::optional<Failure> run() override {
    if (!out_.allocate(raw_bytes_)) return out_of_memory();
    auto status = decompress(frame_, out_.span());
    if (!status) return core_failure(status.error());
    return std::nullopt;
  }
  Napi::Value answer(Napi::Env env) override { return out_.release(env); }
  Bytes frame_;
  size_t raw_bytes_;
  OutputBytes out_;
};

/// Where a stripe goes: memory of the caller's, or new memory.
class StripeOutput {
 public:
  void use(Napi::Buffer<uint8_t> room) {
    room_ = Napi::Persistent(room.As<Napi::Object>());
    given_ = {room.Data(), room.Length()};
  }

  std::optional<Failure> begin(size_t size) {
    size_ = size;
    if (room_.IsEmpty()) return fresh_.allocate(size) ? std::nullopt : std::optional(out_of_memory());
    if (given_.size() < size)
      return Failure{"EINVAL",
                     "the stripe has " + std::to_string(size) + " bytes, more than there is room for"};
    return std::nullopt;
  }
  std::span<uint8_t> span() { return room_.IsEmpty() ? fresh_.span() : given_.first(size_); }

  Napi::Value answer(Napi::Env env) {
    if (room_.IsEmpty()) return fresh_.release(env);
    const Napi::Object room = room_.Value();
    return room.Get("subarray")
        .As<Napi::Function>()
        .Call(room, {Napi::Number::New(env, 0), Napi::Number::New(env, static_cast<double>(size_))});
  }

 private:
  Napi::ObjectReference room_;
  std::span<uint8_t> given_;
  OutputBytes fresh_;
  size_t size_ = 0;
};

class AssembleWork final : public Work {
 public:
  AssembleWork(Napi::Env env, StripeParts stripe, Bytes writes)
      : Work(env), stripe_(std::move(stripe)), writes_(writes) {}
  StripeOutput& output() { return out_; }

 private:
  std::optional<Failure> run() override {
    if (auto status = decompress_parts(stripe_, scratch_); !status) return core_failure(status.error());
    auto writes = decode_writes(writes_);
    if (!writes) return core_failure(writes.error());
    auto assembly = Assembly::plan(stripe_);
    if (!assembly) return core_failure(assembly.error());
    if (auto failure = out_.begin(assembly->size())) return failure;
    auto status = assembly->write(out_.span(), std::move(*writes));
    if (!status) return core_failure(status.error());
    return std::nullopt;
  }

  Napi::Value answer(Napi::Env env) override { return out_.answer(env); }

  StripeParts stripe_;
  Bytes writes_;
  Scratch scratch_;
  StripeOutput out_;
};

}  // namespace

Napi::Value assemble_stripe(const Napi::CallbackInfo& info) {
  if (!info[0].IsObject()) return throw_type(info.Env(), kStripeShape);
  auto object = info[0].As<Napi::Object>();
  auto offset = whole_number(object.Get("imageOffset"));
  auto bytes = whole_number(object.Get("imageBytes"));
  Napi::Value frames = object.Get("frames"), writes = object.Get("writes"), into = object.Get("into");
  StripeParts stripe;
  if (!offset || !bytes || !writes.IsBuffer() || !read_frames(frames, stripe))
    return throw_type(info.Env(), kStripeShape);
  if (!into.IsUndefined() && !into.IsBuffer()) return throw_type(info.Env(), kStripeShape);
  stripe.image_offset = *offset;
  stripe.image_bytes = *bytes;
  auto* work = new AssembleWork(info.Env(), stripe, *buffer(writes));
  work->keep(writes);
  if (into.IsBuffer()) work->output().use(into.As<Napi::Buffer<uint8_t>>());
  auto list = frames.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) work->keep(list.Get(i).As<Napi::Object>().Get("data"));
  return Work::start(work);
}

Napi::Value compress_frame(const Napi::CallbackInfo& info) {
  auto data = buffer(info[0]);
  auto level = whole_number(info[1]);
  if (!data || data->size() > kMaxFrameBytes || !level || *level < kMinLevel || *level > kMaxLevel)
    return throw_type(info.Env(), "a Buffer of at most 64 MiB and a level from 1 to 19");
  auto* work = new CompressWork(info.Env(), *data, static_cast<int>(*level));
  work->keep(info[0]);
  return Work::start(work);
}

Napi::Value decompress_frame(const Napi::CallbackInfo& info) {
  auto frame = buffer(info[0]);
  auto raw_bytes = whole_number(info[1]);
  if (!frame || !raw_bytes || *raw_bytes > kMaxFrameBytes)
    return throw_type(info.Env(), "a Buffer and a length of at most 64 MiB");
  auto* work = new DecompressWork(info.Env(), *frame, *raw_bytes);
  work->keep(info[0]);
  return Work::start(work);
}

}  // namespace pars::addon
