// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <csignal>

#include "addon/arguments.hh"
#include "addon/functions.hh"
#include "addon/work.hh"

namespace pars::addon {
namespace {

constexpr const char* kDescriptor = "a descriptor";
constexpr const char* kRange = "a descriptor, an offset and a length above 0";

struct Range {
  int fd;
  off_t offset;
  off_t bytes;
};

std::optional<Range> range_of(const Napi::CallbackInfo& info) {
  auto fd = descriptor(info[0]);
  auto offset = whole_number(info[1]), bytes = whole_number(info[2]);
  if (!fd || !offset || !bytes || *bytes == 0) return std::nullopt;
  return Range{*fd, static_cast<off_t>(*offset), static_cast<off_t>(*bytes)};
}

class AllocateWork final : public Work {
 public:
  AllocateWork(Napi::Env env, Range range, int mode) : Work(env), range_(range), mode_(mode) {}

 private:
  std::optional<Failure> run() override {
    while (fallocate(range_.fd, mode_, range_.offset, range_.bytes) != 0)
      if (errno != EINTR) return system_failure("fallocate");
    return std::nullopt;
  }
  Range range_;
  int mode_;
};

Napi::Value allocate(const Napi::CallbackInfo& info, int mode) {
  auto range = range_of(info);
  if (!range) return throw_type(info.Env(), kRange);
  return Work::start(new AllocateWork(info.Env(), *range, mode));
}

/// flock() that answers whether the lock was to be had.
Napi::Value lock(const Napi::CallbackInfo& info, int operation) {
  auto fd = descriptor(info[0]);
  if (!fd) return throw_type(info.Env(), kDescriptor);
  int result;
  do result = flock(*fd, operation);
  while (result != 0 && errno == EINTR);
  if (result != 0 && errno != EWOULDBLOCK) return throw_failure(info.Env(), system_failure("flock"));
  return Napi::Boolean::New(info.Env(), result == 0);
}

}  // namespace

Napi::Value take_write_lease(const Napi::CallbackInfo& info) {
  auto fd = descriptor(info[0]);
  if (!fd) return throw_type(info.Env(), kDescriptor);
  // The kernel tells us by SIGIO that somebody waits for the file, and would end us with it; we ask
  // leaseHeld() instead.
  std::signal(SIGIO, SIG_IGN);
  if (fcntl(*fd, F_SETLEASE, F_WRLCK) == 0) return Napi::Boolean::New(info.Env(), true);
  if (errno == EAGAIN) return Napi::Boolean::New(info.Env(), false);
  return throw_failure(info.Env(), system_failure("fcntl(F_SETLEASE)"));
}

Napi::Value lease_held(const Napi::CallbackInfo& info) {
  auto fd = descriptor(info[0]);
  if (!fd) return throw_type(info.Env(), kDescriptor);
  int type = fcntl(*fd, F_GETLEASE);
  if (type < 0) return throw_failure(info.Env(), system_failure("fcntl(F_GETLEASE)"));
  // While somebody waits, this is already the lesser type that they wait for.
  return Napi::Boolean::New(info.Env(), type == F_WRLCK);
}

Napi::Value release_lease(const Napi::CallbackInfo& info) {
  auto fd = descriptor(info[0]);
  if (!fd) return throw_type(info.Env(), kDescriptor);
  // EAGAIN: there was none, or the kernel has broken it already.
  if (fcntl(*fd, F_SETLEASE, F_UNLCK) != 0 && errno != EAGAIN)
    return throw_failure(info.Env(), system_failure("fcntl(F_SETLEASE)"));
  return info.Env().Undefined();
}

Napi::Value try_lock(const Napi::CallbackInfo& info) { return lock(info, LOCK_EX | LOCK_NB); }

Napi::Value unlock(const Napi::CallbackInfo& info) {
  lock(info, LOCK_UN);
  return info.Env().Undefined();
}

Napi::Value punch_hole(const Napi::CallbackInfo& info) {
  return allocate(info, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

// KEEP_SIZE: a range may reach past the end (docs: "file size kept").
Napi::Value reserve(const Napi::CallbackInfo& info) { return allocate(info, FALLOC_FL_KEEP_SIZE); }

Napi::Value start_writeback(const Napi::CallbackInfo& info) {
  auto range = range_of(info);
  if (!range) return throw_type(info.Env(), kRange);
  if (sync_file_range(range->fd, range->offset, range->bytes, SYNC_FILE_RANGE_WRITE) != 0)
    return throw_failure(info.Env(), system_failure("sync_file_range"));
  return info.Env().Undefined();
}

}  // namespace pars::addon
