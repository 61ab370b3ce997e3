// SPDX-License-Identifier: Apache-2.0
#include <isa-l/crc.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "addon/arguments.hh"
#include "addon/functions.hh"
#include "addon/work.hh"

namespace pars::addon {
namespace {

/// dfs.bytes-per-checksum, as good as everywhere.
constexpr size_t kChunk = 512;

/// CRC32Cs of successive chunks of a stream, big-endian, as HDFS keeps them beside a block.
class ChunkSums {
 public:
  /// Appends the sum of each chunk that ends within `data`.
  void update(Bytes data, std::vector<uint8_t>& sums) {
    while (!data.empty()) {
      const size_t now = std::min(kChunk - in_chunk_, data.size());
      crc_ = crc32_iscsi(const_cast<unsigned char*>(data.data()), static_cast<int>(now), crc_);
      in_chunk_ += now;
      data = data.subspan(now);
      if (in_chunk_ == kChunk) end(sums);
    }
  }
  /// Ends a chunk that is short, if one has begun.
  void end(std::vector<uint8_t>& sums) {
    if (in_chunk_ == 0) return;
    for (int shift = 24; shift >= 0; shift -= 8) sums.push_back(static_cast<uint8_t>(~crc_ >> shift));
    crc_ = kNone;
    in_chunk_ = 0;
  }

 private:
  static constexpr uint32_t kNone = 0xffffffff;
  uint32_t crc_ = kNone;
  size_t in_chunk_ = 0;
};

Napi::Value to_buffer(Napi::Env env, const std::vector<uint8_t>& bytes) {
  return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
}

}  // namespace

Napi::Value new_chunk_sums(const Napi::CallbackInfo& info) {
  auto sums = std::make_shared<ChunkSums>();
  auto object = Napi::Object::New(info.Env());
  object.Set("update", Napi::Function::New(info.Env(), [sums](const Napi::CallbackInfo& call) -> Napi::Value {
               auto data = buffer(call[0]);
               if (!data) return throw_type(call.Env(), "a Buffer");
               std::vector<uint8_t> ended;
               ended.reserve((data->size() / kChunk + 1) * sizeof(uint32_t));
               sums->update(*data, ended);
               return to_buffer(call.Env(), ended);
             }));
  object.Set("end", Napi::Function::New(info.Env(), [sums](const Napi::CallbackInfo& call) -> Napi::Value {
               std::vector<uint8_t> ended;
               sums->end(ended);
               return to_buffer(call.Env(), ended);
             }));
  return object;
}

}  // namespace pars::addon
