// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/guest_ram.hh"

#include <algorithm>

namespace pars {

namespace {

constexpr uint64_t kGiB = 1ull << 30;
constexpr uint64_t kFourGiB = 4 * kGiB;
alignas(4096) constexpr uint8_t kZeros[kPageSize] = {};

bool starts_with(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

/// Bytes of RAM that lie below the PCI hole, or 0 for a machine whose layout we do not know.
uint64_t low_memory(const std::string& machine, uint64_t ram) {
  if (machine == "q35" || starts_with(machine, "pc-q35-")) {
    const uint64_t limit = ram >= 0xb0000000 ? 0x80000000 : 0xb0000000;
    return std::min(ram, limit);
  }
  if (machine == "pc" || starts_with(machine, "pc-i440fx-")) {
    const uint64_t limit = ram >= 0xe0000000 ? 0xc0000000 : 0xe0000000;
    return std::min(ram, limit);
  }
  return 0;
}

struct Backing {
  uint32_t block;
  uint64_t bytes;
};

std::optional<uint32_t> find_block(const MigrationStream& stream, const std::string& name, uint64_t bytes) {
  for (uint32_t i = 0; i < stream.blocks.size(); i++)
    if (stream.blocks[i].name == name && stream.blocks[i].bytes == bytes) return i;
  return std::nullopt;
}

/// The blocks that back guest RAM, in guest-physical order: pc.ram, or one a NUMA cell (libvirt names them by
/// cell id).
std::optional<std::vector<Backing>> backings(const DomainXml& domain, const MigrationStream& stream) {
  std::vector<Backing> out;
  if (auto whole = find_block(stream, "pc.ram", domain.memory_bytes)) {
    out.push_back({*whole, domain.memory_bytes});
    return out;
  }
  if (domain.numa_cells.empty()) return std::nullopt;
  uint64_t total = 0;
  for (const NumaCell& cell : domain.numa_cells) {
    auto block = find_block(stream, "ram-node" + std::to_string(cell.id), cell.bytes);
    if (!block) return std::nullopt;
    out.push_back({*block, cell.bytes});
    total += cell.bytes;
  }
  if (total != domain.memory_bytes) return std::nullopt;
  return out;
}

/// Cuts one backing at the PCI hole: what reaches past `low` continues at 4 GiB.
void place(const Backing& backing, uint64_t ram_offset, uint64_t low, std::vector<Segment>& out) {
  uint64_t done = 0;
  if (ram_offset < low) {
    done = std::min(backing.bytes, low - ram_offset);
    out.push_back({ram_offset, done, backing.block, 0});
  }
  if (done == backing.bytes) return;
  const uint64_t above = ram_offset + done - low;
  out.push_back({kFourGiB + above, backing.bytes - done, backing.block, done / kPageSize});
}

RamLayout no_layout(std::string why) { return {{}, std::move(why)}; }

}  // namespace

RamLayout lay_out_ram(const DomainXml& domain, const MigrationStream& stream) {
  if (domain.architecture != "x86_64")
    return no_layout("the guest is " + domain.architecture + ", not x86_64");
  if (domain.memory_devices)
    return no_layout("the guest has memory devices (DIMM, virtio-mem), whose place is not proven");
  const uint64_t low = low_memory(domain.machine, domain.memory_bytes);
  if (low == 0) return no_layout("the memory layout of machine type " + domain.machine + " is not known");
  auto blocks = backings(domain, stream);
  if (!blocks) return no_layout("the RAM blocks do not add up to the memory in the domain XML");
  RamLayout layout;
  uint64_t ram_offset = 0;
  for (const Backing& backing : *blocks) {
    place(backing, ram_offset, low, layout.segments);
    ram_offset += backing.bytes;
  }
  std::sort(layout.segments.begin(), layout.segments.end(),
            [](const Segment& a, const Segment& b) { return a.gpa < b.gpa; });
  return layout;
}

const Segment* GuestRam::segment(uint64_t gpa) const {
  for (const Segment& s : segments_)
    if (gpa >= s.gpa && gpa - s.gpa < s.bytes) return &s;
  return nullptr;
}

PageLocation GuestRam::location(uint64_t gpa) const {
  const Segment* s = segment(gpa);
  if (!s) return kZeroPage;
  return stream_->blocks[s->block].pages[s->block_page + (gpa - s->gpa) / kPageSize];
}

const uint8_t* GuestRam::page(uint64_t gpa) const {
  const Segment* s = segment(gpa);
  if (!s) return nullptr;
  const PageLocation at = stream_->blocks[s->block].pages[s->block_page + (gpa - s->gpa) / kPageSize];
  return at == kZeroPage ? kZeros : image_.data() + at;
}

uint64_t GuestRam::bytes() const {
  uint64_t total = 0;
  for (const Segment& s : segments_) total += s.bytes;
  return total;
}

}  // namespace pars
