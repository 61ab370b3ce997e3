// SPDX-License-Identifier: Apache-2.0
// Device sections and the description at their end; the RAM is behind us.
#include "core/image/device_state.hh"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto vcpus = pars::read_vcpus({data, size}, pars::MigrationStream{});
  if (!vcpus && vcpus.error().offset > size) std::abort();
  return 0;
}
