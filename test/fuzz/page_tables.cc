// SPDX-License-Identifier: Apache-2.0
// Eight pages of RAM that are page tables if the guest says so: four and five levels, from any table, to any
// address.
#include <cstdlib>

#include "core/kernel/kernel_memory.hh"
#include "guest/memory.hh"

using namespace pars;

namespace {

constexpr uint64_t kPages = 8;

DomainXml domain() {
  DomainXml xml;
  xml.architecture = "x86_64", xml.machine = "pc", xml.memory_bytes = kPages * kPageSize;
  return xml;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Cursor input({data, size});
  const uint64_t top = input.u8() % (kPages + 1) * kPageSize, va = input.le64();
  const bool five = input.u8() & 1;
  test::GuestMemory memory(domain(), {{"pc.ram", kPages * kPageSize}});
  for (uint64_t pfn = 0; pfn < kPages; pfn++) memory.page(pfn);
  while (input.ok() && input.remaining() >= 10) {  // entries: where, what
    const uint64_t slot = input.be16() % (kPages * 512);
    memory.put(slot * 8, input.le64(), 8);
  }
  const GuestRam ram(memory.image(), memory.stream(), memory.segments());
  const KernelMemory kernel(ram, top, five);
  for (uint64_t at : std::initializer_list<uint64_t>{va, va + kPageSize, ~0ull - 4095, 0xffff888000000000}) {
    const TableEntry entry = kernel.walk(at);
    if (entry.present && (entry.gpa ^ at) & (kPageSize - 1)) std::abort();
    if (entry.bytes < kPageSize || entry.bytes > 1ull << 48 << 9) std::abort();
    uint8_t bytes[8192];
    if (kernel.read(at, bytes, sizeof bytes) && (!kernel.translate(at) || !ram.page(*kernel.translate(at))))
      std::abort();
    (void)kernel.text(at, 64);
  }
  return 0;
}
