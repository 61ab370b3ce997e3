// SPDX-License-Identifier: Apache-2.0
#include "addon/work.hh"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>

namespace pars::addon {

Failure system_failure(const char* call) {
  int number = errno;
  const char* name = strerrorname_np(number);
  std::string code = name ? name : "E" + std::to_string(number);
  return {code, code + ": " + strerrordesc_np(number) + ", " + call};
}

Failure core_failure(const Error& error) { return {error_code_name(error.code), error.what}; }

Napi::Error to_js(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("code", Napi::String::New(env, failure.code));
  return error;
}

Napi::Value throw_failure(Napi::Env env, const Failure& failure) {
  to_js(env, failure).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value throw_type(Napi::Env env, const char* expected) {
  Napi::TypeError::New(env, std::string("expected ") + expected).ThrowAsJavaScriptException();
  return env.Undefined();
}

OutputBytes::~OutputBytes() { std::free(data_); }

bool OutputBytes::allocate(size_t size) {
  data_ = static_cast<uint8_t*>(std::malloc(size ? size : 1));
  size_ = data_ ? size : 0;
  return data_ != nullptr;
}

Napi::Value OutputBytes::release(Napi::Env env) {
  uint8_t* data = data_;
  data_ = nullptr;
  return Napi::Buffer<uint8_t>::New(env, data, size_, [](Napi::Env, uint8_t* bytes) { std::free(bytes); });
}

Napi::Value Work::start(Work* work) {
  Napi::Promise promise = work->deferred_.Promise();
  work->Queue();
  return promise;
}

void Work::keep(Napi::Value value) {
  if (value.IsObject()) kept_.push_back(Napi::Persistent(value.As<Napi::Object>()));
}

void Work::Execute() {
  try {
    failure_ = run();
  } catch (const std::exception& error) {
    failure_ = Failure{"ENOMEM", std::string("native work failed: ") + error.what()};
  }
}

void Work::OnOK() {
  Napi::HandleScope scope(Env());
  if (failure_) deferred_.Reject(to_js(Env(), *failure_).Value());
  else deferred_.Resolve(answer(Env()));
}

}  // namespace pars::addon
