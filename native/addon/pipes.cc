// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "addon/arguments.hh"
#include "addon/functions.hh"
#include "addon/work.hh"

namespace pars::addon {
namespace {

/// Fewer switches between the two ends. The system may refuse (fs.pipe-max-size); then the pipe stays as it
/// is.
constexpr int kPipeBytes = 1 << 20;

class ReadWork final : public Work {
 public:
  ReadWork(Napi::Env env, int fd, Napi::Buffer<uint8_t> into)
      : Work(env), fd_(fd), into_(into.Data(), into.Length()) {
    keep(into);
  }

 private:
  std::optional<Failure> run() override {
    while (got_ < into_.size()) {
      ssize_t more = read(fd_, into_.data() + got_, into_.size() - got_);
      if (more < 0 && errno == EINTR) continue;
      if (more < 0) return system_failure("read");
      if (more == 0) break;
      got_ += static_cast<size_t>(more);
    }
    return std::nullopt;
  }
  Napi::Value answer(Napi::Env env) override { return Napi::Number::New(env, static_cast<double>(got_)); }
  int fd_;
  std::span<uint8_t> into_;
  size_t got_ = 0;
};

}  // namespace

Napi::Value make_pipe(const Napi::CallbackInfo& info) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return throw_failure(info.Env(), system_failure("pipe2"));
  fcntl(ends[0], F_SETPIPE_SZ, kPipeBytes);
  auto object = Napi::Object::New(info.Env());
  object.Set("readFd", ends[0]);
  object.Set("writeFd", ends[1]);
  return object;
}

Napi::Value read_fully(const Napi::CallbackInfo& info) {
  auto fd = descriptor(info[0]);
  if (!fd || !info[1].IsBuffer()) return throw_type(info.Env(), "a descriptor and a Buffer");
  return Work::start(new ReadWork(info.Env(), *fd, info[1].As<Napi::Buffer<uint8_t>>()));
}

}  // namespace pars::addon
