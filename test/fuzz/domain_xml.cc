// SPDX-License-Identifier: Apache-2.0
// What libvirt wrote about the guest, and what somebody may have written in its place.
#include "core/image/domain_xml.hh"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto domain = pars::parse_domain_xml({reinterpret_cast<const char*>(data), size});
  if (domain && (domain->name.empty() || domain->uuid.size() != 36)) std::abort();
  return 0;
}
