// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cerrno>

#include "addon/arguments.hh"
#include "addon/functions.hh"
#include "addon/stripe_arguments.hh"
#include "addon/work.hh"
#include "core/frames/proof.hh"
#include "core/image/fill.hh"

namespace pars::addon {
namespace {

constexpr const char* kShape =
    "{fd, imageOffset, imageBytes, frames: [{kind, data, rawBytes, lost}], blocks: [{bitmapOffset, "
    "pagesOffset, bytes}], writable: [from, until]}";
constexpr size_t kMaxBlocks = 4096;

/// False where the file ends before, or cannot be read.
bool read_at(int fd, uint64_t offset, std::span<uint8_t> into) {
  for (size_t done = 0; done < into.size();) {
    const ssize_t n = pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

struct Claim {
  int fd = -1;
  StripeParts stripe;
  bool hole = false;
  std::vector<MappedPlaces> blocks;
  uint64_t writable_from = 0, writable_until = 0;
};

class ProveWork final : public Work {
 public:
  ProveWork(Napi::Env env, Claim claim) : Work(env), claim_(std::move(claim)) {}

 private:
  std::optional<Failure> run() override {
    image_.read = [this](uint64_t offset, std::span<uint8_t> into) {
      return read_at(claim_.fd, offset, into);
    };
    image_.blocks = claim_.blocks;
    const Status status = claim_.hole ? hole() : stripe();
    if (!status) return core_failure(status.error());
    return std::nullopt;
  }

  Status stripe() {
    if (auto status = decompress_parts(claim_.stripe, scratch_, kFrameKinds); !status) return status;
    for (const uint8_t kind : {kRecoveryFrame, kDiskRecoveryFrame}) {
      StripePart& part = claim_.stripe.parts[kind];
      if (part.present)
        if (auto status = prove_recovery(part.bytes, claim_.writable_from, claim_.writable_until); !status)
          return status;
      part = {};
    }
    return prove_stripe(claim_.stripe, image_);
  }

  /// What the file system holds no data for is zero; only the rest is looked at.
  Status hole() {
    const uint64_t end = claim_.stripe.image_offset + claim_.stripe.image_bytes;
    if (claim_.stripe.image_bytes % kPageSize)
      return Error{ErrorCode::corrupt, claim_.stripe.image_offset, "a hole that is not of whole pages"};
    for (uint64_t at = claim_.stripe.image_offset; at < end;) {
      const off_t data = lseek(claim_.fd, static_cast<off_t>(at), SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;
      uint64_t from = at, until = end;
      if (data >= 0) {
        if (static_cast<uint64_t>(data) >= end) break;
        const off_t next = lseek(claim_.fd, data, SEEK_HOLE);
        const auto page = [&](uint64_t offset) {
          return at + (offset - at + kPageSize - 1) / kPageSize * kPageSize;
        };
        from = at + (static_cast<uint64_t>(data) - at) / kPageSize * kPageSize;
        if (next > data) until = std::min(end, page(static_cast<uint64_t>(next)));
      }
      if (auto status = prove_zero_pages(from, until - from, image_); !status) return status;
      at = until;
    }
    return Done{};
  }

  Claim claim_;
  ProofImage image_;
  Scratch scratch_;
};

bool read_blocks(const Napi::Value& value, std::vector<MappedPlaces>& blocks) {
  if (!value.IsArray()) return false;
  auto list = value.As<Napi::Array>();
  if (list.Length() > kMaxBlocks) return false;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value entry = list.Get(i);
    if (!entry.IsObject()) return false;
    auto block = entry.As<Napi::Object>();
    auto bitmap = whole_number(block.Get("bitmapOffset")), pages = whole_number(block.Get("pagesOffset")),
         bytes = whole_number(block.Get("bytes"));
    if (!bitmap || !pages || !bytes) return false;
    blocks.push_back({*bitmap, *pages, *bytes});
  }
  return true;
}

std::optional<Claim> read_claim(const Napi::Object& object) {
  Claim claim;
  auto fd = descriptor(object.Get("fd"));
  auto offset = whole_number(object.Get("imageOffset")), bytes = whole_number(object.Get("imageBytes"));
  const Napi::Value writable = object.Get("writable"), frames = object.Get("frames");
  if (!fd || !offset || !bytes || !writable.IsArray() || !read_frames(frames, claim.stripe) ||
      !read_blocks(object.Get("blocks"), claim.blocks))
    return std::nullopt;
  auto range = writable.As<Napi::Array>();
  auto from = whole_number(range.Get(0u)), until = whole_number(range.Get(1u));
  if (!from || !until) return std::nullopt;
  claim.fd = *fd, claim.writable_from = *from, claim.writable_until = *until;
  claim.stripe.image_offset = *offset, claim.stripe.image_bytes = *bytes;
  claim.hole = frames.As<Napi::Array>().Length() == 0;
  return claim;
}

}  // namespace

Napi::Value prove_stripe(const Napi::CallbackInfo& info) {
  if (!info[0].IsObject()) return throw_type(info.Env(), kShape);
  auto object = info[0].As<Napi::Object>();
  auto claim = read_claim(object);
  if (!claim) return throw_type(info.Env(), kShape);
  auto* work = new ProveWork(info.Env(), std::move(*claim));
  auto list = object.Get("frames").As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) work->keep(list.Get(i).As<Napi::Object>().Get("data"));
  return Work::start(work);
}

}  // namespace pars::addon
