// SPDX-License-Identifier: Apache-2.0
#include "addon/functions.hh"

namespace pars::addon {

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("assembleStripe", assemble_stripe);
  add("compress", compress_frame);
  add("decompress", decompress_frame);
  add("packStripe", pack_stripe);
  add("readReferences", read_references);
  add("hashFileUncached", hash_file_uncached);
  add("newHash", new_hash);
  add("newChunkSums", new_chunk_sums);
  add("takeWriteLease", take_write_lease);
  add("leaseHeld", lease_held);
  add("releaseLease", release_lease);
  add("tryLock", try_lock);
  add("unlock", unlock);
  add("punchHole", punch_hole);
  add("reserve", reserve);
  add("startWriteback", start_writeback);
  add("pipe", make_pipe);
  add("readFully", read_fully);
  return exports;
}

}  // namespace pars::addon

static Napi::Object init_module(Napi::Env env, Napi::Object exports) {
  return pars::addon::init(env, exports);
}
NODE_API_MODULE(pars, init_module)
