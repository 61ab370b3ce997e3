// SPDX-License-Identifier: Apache-2.0
#include "core/frames/frame.hh"

#include <zstd.h>

#include <algorithm>
#include <new>

namespace pars {

Compressor::Compressor(int level) : context_(ZSTD_createCCtx()), level_(level) {
  if (!context_) throw std::bad_alloc();
}

Compressor::~Compressor() { ZSTD_freeCCtx(context_); }

bool Compressor::make_room(size_t bytes) {
  if (bytes <= room_bytes_) return true;
  room_.reset(new (std::nothrow) uint8_t[bytes]);
  room_bytes_ = room_ ? bytes : 0;
  return room_ != nullptr;
}

Result<size_t> Compressor::compress_into(Bytes raw, std::span<uint8_t> room) {
  if (raw.size() > kMaxFrameBytes)
    return Error{ErrorCode::limit, 0, "a frame of " + std::to_string(raw.size()) + " bytes"};
  size_t size = ZSTD_compressCCtx(context_, room.data(), room.size(), raw.data(), raw.size(), level_);
  if (ZSTD_isError(size)) return Error{ErrorCode::io, 0, std::string("zstd: ") + ZSTD_getErrorName(size)};
  return size;
}

Status Compressor::compress(Bytes raw, std::vector<uint8_t>& out) {
  if (raw.size() <= kMaxFrameBytes && !make_room(ZSTD_compressBound(raw.size())))
    return Error{ErrorCode::limit, 0, "no memory to compress a frame"};
  auto size = compress_into(raw, {room_.get(), room_bytes_});
  if (!size) return size.error();
  out.assign(room_.get(), room_.get() + *size);
  return Done{};
}

static Error corrupt_frame(const std::string& why) { return corrupt(0, "a zstd frame " + why); }

Status decompress(Bytes frame, std::span<uint8_t> out) {
  unsigned long long announced = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (announced == ZSTD_CONTENTSIZE_ERROR) return corrupt_frame("does not begin like one");
  if (announced != out.size())
    return corrupt_frame("announces " + std::to_string(announced) + " bytes where " +
                         std::to_string(out.size()) + " belong");
  size_t length = ZSTD_findFrameCompressedSize(frame.data(), frame.size());
  if (ZSTD_isError(length) || length != frame.size())
    return corrupt_frame("is cut short or has bytes behind it");
  size_t size = ZSTD_decompress(out.data(), out.size(), frame.data(), frame.size());
  if (ZSTD_isError(size))
    return corrupt_frame(std::string("does not decompress: ") + ZSTD_getErrorName(size));
  if (size != out.size()) return corrupt_frame("holds fewer bytes than it announces");
  return Done{};
}

Status unpacks_to(Bytes frame, Bytes raw, std::span<uint8_t> room) {
  const std::span<uint8_t> again = room.first(raw.size());
  if (auto status = decompress(frame, again); !status) return status;
  if (!std::equal(again.begin(), again.end(), raw.begin())) return corrupt_frame("unpacks to other bytes");
  return Done{};
}

}  // namespace pars
