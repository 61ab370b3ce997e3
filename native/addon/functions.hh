// SPDX-License-Identifier: Apache-2.0
// Every function of the addon; the typed surface is src/native.ts.
#pragma once
#include <napi.h>

namespace pars::addon {

// frames.cc
Napi::Value assemble_stripe(const Napi::CallbackInfo& info);
Napi::Value compress_frame(const Napi::CallbackInfo& info);
Napi::Value decompress_frame(const Napi::CallbackInfo& info);
// packing.cc
Napi::Value pack_stripe(const Napi::CallbackInfo& info);
// hashes.cc
Napi::Value hash_file_uncached(const Napi::CallbackInfo& info);
Napi::Value new_hash(const Napi::CallbackInfo& info);
// chunk_sums.cc
Napi::Value new_chunk_sums(const Napi::CallbackInfo& info);
// references.cc
Napi::Value read_references(const Napi::CallbackInfo& info);
// files.cc
Napi::Value take_write_lease(const Napi::CallbackInfo& info);
Napi::Value lease_held(const Napi::CallbackInfo& info);
Napi::Value release_lease(const Napi::CallbackInfo& info);
Napi::Value try_lock(const Napi::CallbackInfo& info);
Napi::Value unlock(const Napi::CallbackInfo& info);
Napi::Value punch_hole(const Napi::CallbackInfo& info);
Napi::Value reserve(const Napi::CallbackInfo& info);
Napi::Value start_writeback(const Napi::CallbackInfo& info);
// pipes.cc
Napi::Value make_pipe(const Napi::CallbackInfo& info);
Napi::Value read_fully(const Napi::CallbackInfo& info);

}  // namespace pars::addon
