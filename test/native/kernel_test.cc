// SPDX-License-Identifier: Apache-2.0
// What the look inside stands on, on memory made by hand: layout (R6), page tables, VMCOREINFO, BTF, and what
// is believed of none of it.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/kernel/btf.hh"
#include "core/kernel/guest_ram.hh"
#include "core/kernel/kernel_memory.hh"
#include "core/kernel/live_kernel.hh"
#include "core/kernel/vmcoreinfo.hh"
#include "core/pages/inspection.hh"

using namespace pars;

namespace {

constexpr uint64_t kMiB = 1ull << 20;

/// A guest of one block whose pages all lie in `bytes`, page after page, behind one page that stands for the
/// image's head.
struct HandMade {
  std::vector<uint8_t> bytes;
  MigrationStream stream;
  explicit HandMade(uint64_t pages) : bytes((pages + 1) * kPageSize) {
    stream.blocks.resize(1);
    stream.blocks[0].name = "pc.ram";
    stream.blocks[0].bytes = pages * kPageSize;
    REQUIRE(stream.blocks[0].pages.reset(pages));
    for (uint64_t i = 0; i < pages; i++) stream.blocks[0].pages[i] = (i + 1) * kPageSize;
  }
  uint8_t* page(uint64_t pfn) { return &bytes[(pfn + 1) * kPageSize]; }
  void put64(uint64_t gpa, uint64_t value) {
    std::memcpy(page(gpa / kPageSize) + gpa % kPageSize, &value, 8);
  }
  GuestRam ram() const { return {bytes, stream, {{0, stream.blocks[0].bytes, 0, 0}}}; }
};

DomainXml domain(const char* machine, uint64_t bytes) {
  DomainXml xml;
  xml.architecture = "x86_64", xml.machine = machine, xml.memory_bytes = bytes;
  return xml;
}

MigrationStream stream_with(std::vector<std::pair<std::string, uint64_t>> blocks) {
  MigrationStream stream;
  for (auto& [name, bytes] : blocks) {
    stream.blocks.emplace_back();
    stream.blocks.back().name = name, stream.blocks.back().bytes = bytes;
  }
  return stream;
}

}  // namespace

TEST_CASE("R6: RAM is cut at the PCI hole of its machine type") {
  const uint64_t ram = 5ull << 30;
  const auto stream = stream_with({{"vga.vram", 16 * kMiB}, {"pc.ram", ram}});
  const auto i440fx = lay_out_ram(domain("pc-i440fx-7.2", ram), stream);
  REQUIRE((i440fx ? i440fx->size() : 0) == 2);
  CHECK((*i440fx)[0].bytes == 0xc0000000);
  CHECK((*i440fx)[1].gpa == 4ull << 30);
  CHECK((*i440fx)[1].block_page == 0xc0000);
  CHECK((*i440fx)[1].block == 1);
  const auto q35 = lay_out_ram(domain("pc-q35-10.0", ram), stream);
  REQUIRE((q35 ? q35->size() : 0) == 2);
  CHECK((*q35)[0].bytes == 0x80000000);
}

TEST_CASE("R6: NUMA blocks are placed by cell id, whatever their order in the stream") {
  auto xml = domain("pc-i440fx-7.2", 768 * kMiB);
  xml.numa_cells = {{0, 256 * kMiB}, {1, 512 * kMiB}};
  const auto layout = lay_out_ram(xml, stream_with({{"ram-node1", 512 * kMiB}, {"ram-node0", 256 * kMiB}}));
  REQUIRE((layout ? layout->size() : 0) == 2);
  CHECK((*layout)[0].block == 1);
  CHECK((*layout)[1].gpa == 256 * kMiB);
}

TEST_CASE("R6: no layout is guessed") {
  const auto stream = stream_with({{"pc.ram", 512 * kMiB}});
  CHECK_FALSE(lay_out_ram(domain("microvm", 512 * kMiB), stream));
  CHECK_FALSE(lay_out_ram(domain("pc-i440fx-7.2", 513 * kMiB), stream));
  auto arm = domain("pc-i440fx-7.2", 512 * kMiB);
  arm.architecture = "aarch64";
  CHECK_FALSE(lay_out_ram(arm, stream));
}

TEST_CASE("R6: a memory device is placed where the XML says, or left out") {
  auto xml = domain("pc-q35-7.2", 1280 * kMiB);  // <memory> counts it
  xml.numa_cells = {{0, 1024 * kMiB}};
  xml.memory_devices = {{"dimm", "memdimm0", 256 * kMiB, 4ull << 30}};
  const auto stream = stream_with({{"ram-node0", 1024 * kMiB}, {"memdimm0", 256 * kMiB}});
  const auto layout = lay_out_ram(xml, stream);
  REQUIRE((layout ? layout->size() : 0) == 2);
  CHECK((*layout)[0].bytes == 1024 * kMiB);
  CHECK((*layout)[1].gpa == 4ull << 30);
  CHECK((*layout)[1].block == 1);
  CHECK((*layout)[1].plugged);
  const auto left_out = [&](auto change) {
    DomainXml other = xml;
    change(other.memory_devices[0]);
    const auto got = lay_out_ram(other, stream);
    return got && got->size() == 1;
  };
  CHECK(left_out([](MemoryDevice& d) { d.base.reset(); }));
  CHECK(left_out([](MemoryDevice& d) { d.model = "nvdimm"; }));
  CHECK(left_out([](MemoryDevice& d) { d.block = "memdimm1"; }));
  CHECK(left_out([](MemoryDevice& d) { d.block = "ram-node0"; }));
  CHECK(left_out([](MemoryDevice& d) { d.base = 1ull << 30; }));
  CHECK(left_out([](MemoryDevice& d) { d.base = (4ull << 30) + 1; }));
  CHECK(left_out([](MemoryDevice& d) { d.base = 1ull << 45; }));
}

TEST_CASE("R6: virtio-mem's block is named behind its place on the bus") {
  auto xml = domain("pc-q35-10.0", 1280 * kMiB);
  xml.memory_devices = {{"virtio-mem", "memvirtiomem0", 256 * kMiB, 4ull << 30}};
  const auto segments = [&](std::vector<std::pair<std::string, uint64_t>> devices) {
    devices.insert(devices.begin(), {"pc.ram", 1024 * kMiB});
    const auto layout = lay_out_ram(xml, stream_with(devices));
    return layout ? *layout : std::vector<Segment>{};
  };
  const auto placed = segments({{"0000:00:01.1:00.0/memvirtiomem0", 256 * kMiB}});
  REQUIRE(placed.size() == 2);
  CHECK(placed[1].gpa == 4ull << 30);
  CHECK(placed[1].block == 1);
  CHECK(placed[1].plugged);
  CHECK(segments({{"memvirtiomem0", 256 * kMiB}}).size() == 2);
  CHECK(segments({{"0000:00:01.1:00.0/memvirtiomem0", 128 * kMiB}}).size() == 1);
  CHECK(segments({{"0000:00:01.1:00.0/xmemvirtiomem0", 256 * kMiB}}).size() == 1);
  CHECK(segments({{"a/memvirtiomem0", 256 * kMiB}, {"b/memvirtiomem0", 256 * kMiB}}).size() == 1);
}

TEST_CASE("R6: old machine types call a block by its backend's path") {
  auto xml = domain("pc-i440fx-3.1", 768 * kMiB);
  xml.numa_cells = {{0, 256 * kMiB}, {1, 512 * kMiB}};
  const auto layout =
      lay_out_ram(xml, stream_with({{"/objects/ram-node0", 256 * kMiB}, {"/objects/ram-node1", 512 * kMiB}}));
  REQUIRE((layout ? layout->size() : 0) == 2);
  CHECK((*layout)[1].gpa == 256 * kMiB);
}

TEST_CASE("page tables: four levels, large pages, and what is not mapped") {
  HandMade guest(64);
  const uint64_t va = 0xffffffff80000000;
  guest.put64(1 * kPageSize + 511 * 8, 2 * kPageSize | 3);
  guest.put64(2 * kPageSize + 510 * 8, 3 * kPageSize | 3);
  guest.put64(3 * kPageSize + 0 * 8, 4 * kPageSize | 3);
  guest.put64(3 * kPageSize + 1 * 8, 0 | 0x81);           // 2 MiB, read-only
  guest.put64(4 * kPageSize + 5 * 8, 7 * kPageSize | 1);  // 4 KiB, read-only
  guest.put64(4 * kPageSize + 6 * 8, 0x7ffffff000 | 3);   // outside RAM
  std::strcpy(reinterpret_cast<char*>(guest.page(7)) + 16, "hello");
  const GuestRam ram = guest.ram();
  const KernelMemory memory(ram, kPageSize, false);
  CHECK(memory.translate(va + 5 * kPageSize + 16) == 7 * kPageSize + 16);
  CHECK_FALSE(memory.walk(va + 5 * kPageSize).writable);
  CHECK(memory.text(va + 5 * kPageSize + 16, 16) == "hello");
  CHECK_FALSE(memory.text(va + 5 * kPageSize + 16, 3).has_value());
  CHECK(memory.translate(va + 2 * kMiB + 0x3000) == 0x3000);
  CHECK(memory.walk(va + 2 * kMiB).bytes == 2 * kMiB);
  CHECK_FALSE(memory.translate(va).has_value());
  CHECK(memory.u64(va + 6 * kPageSize) == std::nullopt);
  CHECK_FALSE(memory.translate(0x0000800000000000).has_value());  // not canonical
}

TEST_CASE("page tables: a table that points at itself ends after as many steps as there are levels") {
  HandMade guest(8);
  for (uint64_t i = 0; i < 512; i++) guest.put64(1 * kPageSize + i * 8, 1 * kPageSize | 3);
  const GuestRam ram = guest.ram();
  CHECK(KernelMemory(ram, kPageSize, false).translate(0xffff888000000000) == 1 * kPageSize);
  CHECK(KernelMemory(ram, kPageSize, true).translate(0xffff888000000000) == 1 * kPageSize);
}

TEST_CASE("VMCOREINFO: text is parsed strictly") {
  const auto parse = [](const char* text) {
    std::vector<uint8_t> page(kPageSize);
    std::strcpy(reinterpret_cast<char*>(page.data()), text);
    return std::pair(Vmcoreinfo::parse(page).has_value(), page);
  };
  std::vector<uint8_t> page(kPageSize);
  std::strcpy(reinterpret_cast<char*>(page.data()),
              "OSRELEASE=6.1.0\nSYMBOL(_stext)=ffffffff81000000\nNUMBER(phys_base)=-4096\nSIZE(page)=64\n");
  const auto info = Vmcoreinfo::parse(page);
  REQUIRE(info);
  CHECK(info->release() == "6.1.0");
  CHECK(info->symbol("_stext") == 0xffffffff81000000);
  CHECK(info->number("phys_base") == -4096);
  CHECK(info->size("page") == 64u);
  CHECK_FALSE(info->symbol("missing").has_value());
  CHECK_FALSE(parse("SYMBOL(_stext)=1\n").first);
  CHECK_FALSE(parse("OSRELEASE=6.1\n\x01\x02=3\n").first);
  CHECK_FALSE(parse("OSRELEASE=6.1\nno equals sign\n").first);
}

TEST_CASE("R3: BTF whose lengths lie is refused, at every cut") {
  std::vector<uint8_t> blob = {
      0x9f, 0xeb, 1,   0,   24,  0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 24, 0, 0,
      0,    6,    0,   0,   0,   1, 0, 0, 0, 1, 0, 0, 4,  8, 0, 0, 0,  // struct "page", one member, 8 bytes
      0,    0,    0,   0,   1,   0, 0, 0, 0, 0, 0, 0,  // an anonymous member of the struct's own type
      0,    'p',  'a', 'g', 'e', 0};
  auto btf = Btf::parse(blob);
  REQUIRE(btf.ok());
  CHECK(btf->struct_size("page") == 8u);
  CHECK_FALSE(btf->member("page", "flags").has_value());  // recursion without end is cut
  CHECK(btf->struct_size("missing").is_absent());
  auto many = blob;
  many[28] = 200;  // two hundred members announced
  CHECK_FALSE(Btf::parse(many).ok());
  for (size_t cut = 0; cut < blob.size(); cut++)
    CHECK_FALSE(Btf::parse({blob.begin(), blob.begin() + cut}).ok());
}

TEST_CASE("R2: a VMCOREINFO that no vCPU's page tables bear out is not believed") {
  HandMade guest(64);
  std::strcpy(reinterpret_cast<char*>(guest.page(20)),
              "OSRELEASE=6.1.0\nSYMBOL(swapper_pg_dir)=ffffffff8000a000\nNUMBER(phys_base)=0\nSYMBOL(_stext)="
              "ffffffff80000000\n"
              "SYMBOL(init_uts_ns)=ffffffff80001000\nSYMBOL(node_data)=ffffffff80002000\n");
  guest.stream.vmcoreinfo = {21 * kPageSize};
  guest.put64(10 * kPageSize + 256 * 8, 0x1003);  // swapper_pg_dir's kernel half
  guest.put64(12 * kPageSize + 256 * 8, 0x2003);  // what the vCPU really runs on
  const GuestRam ram = guest.ram();
  const Vcpu elsewhere{0, 1ull << 31, 12 * kPageSize, 0, 0};
  const auto result = prove_live_kernel(ram, {elsewhere});
  CHECK_FALSE(result);
  CHECK(result.why().find("something else") != std::string::npos);
  const Vcpu user_half{0, 1ull << 31, 11 * kPageSize, 0, 0};  // PTI: the page below is the kernel's half
  CHECK(prove_live_kernel(ram, {user_half}).why() == "swapper_pg_dir is not where phys_base says");
  const Vcpu no_paging{0, 0, 10 * kPageSize, 0, 0};
  CHECK(prove_live_kernel(ram, {no_paging}).why() == "no vCPU has paging on");
  CHECK_FALSE(prove_live_kernel(ram, {}));
}

TEST_CASE("R7: what cannot be proven is kernel, page by page, and says why") {
  HandMade guest(64);
  const Inspection out =
      inspect(guest.bytes, domain("pc-i440fx-7.2", 64 * kPageSize), guest.stream, kPageSize);
  CHECK_FALSE(out.introspected);
  CHECK_FALSE(out.reason.empty());
  CHECK(out.counts[static_cast<size_t>(PageClass::kernel)].pages == 64);
  CHECK(out.recovery.folios.empty());
}
