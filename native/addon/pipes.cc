#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "addon/arguments.hh"
#include "addon/functions.hh"
#include "addon/work.hh"

namespace pars::addon {
namespace {

constexpr uint64_t kMaxRead = 64ull << 20;
/// Fewer switches between the two ends. The system may refuse (fs.pipe-max-size); then the pipe stays as it is.
constexpr int kPipeBytes = 1 << 20;

class ReadWork final : public Work {
 public:
  ReadWork(Napi::Env env, int fd, size_t bytes) : Work(env), fd_(fd), bytes_(bytes) {}

 private:
  std::optional<Failure> run() override {
    if (!out_.allocate(bytes_)) return Failure{"ENOMEM", "no memory for a message"};
    size_t got = 0;
    while (got < bytes_) {
      ssize_t more = read(fd_, out_.span().data() + got, bytes_ - got);
      if (more < 0 && errno == EINTR) continue;
      if (more < 0) return system_failure("read");
      if (more == 0) break;
      got += static_cast<size_t>(more);
    }
    out_.shrink(got);
    return std::nullopt;
  }
  Napi::Value answer(Napi::Env env) override { return out_.release(env); }
  int fd_;
  size_t bytes_;
  OutputBytes out_;
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
  auto bytes = whole_number(info[1]);
  if (!fd || !bytes || *bytes > kMaxRead) return throw_type(info.Env(), "a descriptor and a length of at most 64 MiB");
  return Work::start(new ReadWork(info.Env(), *fd, *bytes));
}

}  // namespace pars::addon
