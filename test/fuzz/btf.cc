// SPDX-License-Identifier: Apache-2.0
// A BTF blob, alone and as a module's that continues itself, and all that a kernel's layout and its file
// systems' ask of it.
#include "core/kernel/btf.hh"

#include <cstdlib>

#include "core/kernel/file_system_types.hh"
#include "core/kernel/kernel_layout.hh"

using namespace pars;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (Btf::blob_bytes({data, size}) == 0) return 0;
  auto btf = Btf::parse({data, data + size});
  if (!btf) {
    if (btf.error().offset > size) std::abort();
    return 0;
  }
  const std::string_view note = "OSRELEASE=6.1\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\n";
  std::vector<uint8_t> page(4096);
  std::copy(note.begin(), note.end(), page.begin());
  const auto base = std::make_shared<const Btf>(std::move(*Btf::parse({data, data + size})));
  if (const auto module = Btf::parse({data, data + size}, base)) resolve_file_system(*module);
  const auto types = layout_of_types(*btf);
  if (!types) return 0;
  const auto found = with_note(*types, *Vmcoreinfo::parse(page));
  if (!found) return 0;
  const PageLayout& p = found->page;
  for (uint32_t at : {p.flags, p.mapping, p.index, p.private_data, p.list, p.compound})
    if (at > 56) std::abort();
  if (p.refcount > 60 || p.mapcount > 60 || found->zone.orders > 32) std::abort();
  return 0;
}
