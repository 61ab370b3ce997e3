// SPDX-License-Identifier: Apache-2.0
// One page of a guest that begins as a VMCOREINFO note does.
#include "core/kernel/vmcoreinfo.hh"

#include <algorithm>
#include <cstdlib>
#include <vector>

using namespace pars;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> page(4096);
  std::copy_n(data, std::min(size, page.size()), page.begin());
  const auto info = Vmcoreinfo::parse(page);
  if (!info) return 0;
  const auto* release = reinterpret_cast<const uint8_t*>(info->release().data());
  if (!info->release().empty() &&
      (release < page.data() || release + info->release().size() > page.data() + page.size()))
    std::abort();
  for (const char* name : {"swapper_pg_dir", "mem_section", "node_data", "page", "phys_base"})
    (void)info->symbol(name), (void)info->length(name), (void)info->size(name), (void)info->number(name),
        (void)info->offset(name);
  return 0;
}
