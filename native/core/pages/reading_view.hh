// SPDX-License-Identifier: Apache-2.0
// A believed reading of guest memory while it is at hand: for those who explain it to people. Nothing that
// decides a class uses it.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "core/image/device_state.hh"
#include "core/kernel/module_types.hh"
#include "core/kernel/page_array.hh"
#include "core/pages/reason.hh"

namespace pars {

struct ReadingView {
  const KernelMemory& memory;
  const KernelLayout& layout;
  const PageArray& array;
  const std::vector<Classification>& classifications;  ///< by page frame number
  ModuleTypes& modules;
};

/// Called at most once for each kernel that is tried, with the reading that proved itself.
using ReadingObserver = std::function<void(const ReadingView&)>;

struct InspectOptions {
  ReadingObserver observer;
  std::optional<std::vector<Vcpu>>
      vcpus;  ///< of a guest that runs: there is no device state to read them from
};

}  // namespace pars
