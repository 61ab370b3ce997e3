// SPDX-License-Identifier: Apache-2.0
// Work off the main thread, and errors on their way to JavaScript: an Error with a `code`, which is an errno
// name
// ("ENOSPC") or one of the core's (native/core/result.hh).
#pragma once
#include <napi.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/result.hh"

namespace pars::addon {

struct Failure {
  std::string code;
  std::string message;
};

/// What errno says now, about the system call named.
Failure system_failure(const char* call);
Failure core_failure(const Error& error);
Napi::Error to_js(Napi::Env env, const Failure& failure);
/// For calls that do their work at once: throws and answers undefined.
Napi::Value throw_failure(Napi::Env env, const Failure& failure);
Napi::Value throw_type(Napi::Env env, const char* expected);

/// Memory for one Buffer, filled by a worker and then owned by JavaScript.
class OutputBytes {
 public:
  OutputBytes() = default;
  OutputBytes(const OutputBytes&) = delete;
  OutputBytes& operator=(const OutputBytes&) = delete;
  ~OutputBytes();
  bool allocate(size_t size);
  std::span<uint8_t> span() { return {data_, size_}; }
  Napi::Value release(Napi::Env env);

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

/// One piece of work with a promise for its answer.
class Work : public Napi::AsyncWorker {
 public:
  /// Starts it; it deletes itself at its end.
  static Napi::Value start(Work* work);
  /// Keeps a value (a Buffer that run() reads) from being collected until the end.
  void keep(Napi::Value value);

 protected:
  explicit Work(Napi::Env env) : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)) {}
  /// Off the main thread.
  virtual std::optional<Failure> run() = 0;
  /// On the main thread, after a run without failure.
  virtual Napi::Value answer(Napi::Env env) { return env.Undefined(); }

 private:
  void Execute() final;
  void OnOK() final;
  Napi::Promise::Deferred deferred_;
  std::optional<Failure> failure_;
  std::vector<Napi::ObjectReference> kept_;
};

}  // namespace pars::addon
