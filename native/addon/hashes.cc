// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

#include "addon/arguments.hh"
#include "addon/functions.hh"
#include "addon/work.hh"

namespace pars::addon {
namespace {

/// Large enough to keep a disk busy, aligned as O_DIRECT wants it.
constexpr size_t kChunk = 4u << 20;
constexpr size_t kAlignment = 4096;

class Hash {
 public:
  Hash() : state_(XXH3_createState(), XXH3_freeState) { XXH3_128bits_reset(state_.get()); }
  void update(const uint8_t* data, size_t size) { XXH3_128bits_update(state_.get(), data, size); }
  std::string digest() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_.get()));
    std::string hex;
    for (unsigned char byte : canonical.digest) hex += kDigits[byte >> 4], hex += kDigits[byte & 15];
    return hex;
  }

 private:
  static constexpr const char* kDigits = "0123456789abcdef";
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

int reopen(int fd, int flags) {
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  return open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
}

/// Reads what the disk holds: directly where the file system can, else after the cached pages are written and
/// dropped.
class HashFileWork final : public Work {
 public:
  HashFileWork(Napi::Env env, int fd) : Work(env), fd_(fd) {}

 private:
  std::optional<Failure> run() override {
    chunk_.reset(static_cast<uint8_t*>(std::aligned_alloc(kAlignment, kChunk)));
    if (!chunk_) return Failure{"ENOMEM", "no memory for a read buffer"};
    Descriptor direct(reopen(fd_, O_DIRECT));
    if (direct.get() >= 0) {
      auto failure = hash(direct.get(), true);
      if (!failure || failure->code != "EINVAL") return failure;
    } else if (errno != EINVAL) {
      return system_failure("open");
    }
    return hash_dropped();
  }

  std::optional<Failure> hash_dropped() {
    Descriptor plain(reopen(fd_, 0));
    if (plain.get() < 0) return system_failure("open");
    if (fsync(plain.get()) != 0) return system_failure("fsync");
    if (int number = posix_fadvise(plain.get(), 0, 0, POSIX_FADV_DONTNEED))
      return errno = number, system_failure("fadvise");
    return hash(plain.get(), false);
  }

  std::optional<Failure> hash(int fd, bool direct) {
    Hash hash;
    for (bytes_ = 0;;) {
      ssize_t got = pread(fd, chunk_.get(), kChunk, static_cast<off_t>(bytes_));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return system_failure("pread");
      if (got == 0) break;
      hash.update(chunk_.get(), static_cast<size_t>(got));
      bytes_ += static_cast<uint64_t>(got);
      // After a read cut short off the alignment (the file's end) a direct read would be refused.
      if (direct && bytes_ % kAlignment) break;
    }
    digest_ = hash.digest();
    return std::nullopt;
  }

  Napi::Value answer(Napi::Env env) override {
    auto object = Napi::Object::New(env);
    object.Set("xxh3", digest_);
    object.Set("bytes", Napi::Number::New(env, static_cast<double>(bytes_)));
    return object;
  }

  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  int fd_;
  std::unique_ptr<uint8_t, Free> chunk_;
  uint64_t bytes_ = 0;
  std::string digest_;
};

}  // namespace

Napi::Value hash_file_uncached(const Napi::CallbackInfo& info) {
  auto fd = descriptor(info[0]);
  if (!fd) return throw_type(info.Env(), "a descriptor");
  return Work::start(new HashFileWork(info.Env(), *fd));
}

Napi::Value new_hash(const Napi::CallbackInfo& info) {
  auto hash = std::make_shared<Hash>();
  auto object = Napi::Object::New(info.Env());
  object.Set("update", Napi::Function::New(info.Env(), [hash](const Napi::CallbackInfo& call) -> Napi::Value {
               auto data = buffer(call[0]);
               if (!data) return throw_type(call.Env(), "a Buffer");
               hash->update(data->data(), data->size());
               return call.Env().Undefined();
             }));
  object.Set("digest", Napi::Function::New(info.Env(), [hash](const Napi::CallbackInfo& call) -> Napi::Value {
               return Napi::String::New(call.Env(), hash->digest());
             }));
  return object;
}

}  // namespace pars::addon
