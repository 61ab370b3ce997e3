// SPDX-License-Identifier: Apache-2.0
// What is taken to be true of a guest's kernel. A kernel that is not believed is not an error of the image:
// its pages are critical, and the report says why.
#pragma once
#include <string>
#include <utility>
#include <variant>

namespace pars {

struct Disbelief {
  std::string why;  ///< in one sentence
};

template <class T>
class [[nodiscard]] Believed {
 public:
  Believed(T value) : state_(std::move(value)) {}
  Believed(Disbelief no) : state_(std::move(no)) {}
  explicit operator bool() const { return std::holds_alternative<T>(state_); }
  T* operator->() { return &std::get<T>(state_); }
  const T* operator->() const { return &std::get<T>(state_); }
  T& operator*() { return std::get<T>(state_); }
  const T& operator*() const { return std::get<T>(state_); }
  /// Why not; empty for what is believed.
  std::string why() const { return *this ? std::string() : std::get<Disbelief>(state_).why; }

 private:
  std::variant<T, Disbelief> state_;
};

}  // namespace pars
