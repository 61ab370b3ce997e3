// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/guest_ram.hh"

#include <algorithm>

namespace pars {

namespace {

constexpr uint64_t kGiB = 1ull << 30;
constexpr uint64_t kFourGiB = 4 * kGiB;
constexpr uint64_t kMaxGap =
    64 * kGiB;  // before a memory device: QEMU places the first behind RAM and each behind the last, aligned
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

/// Machine types before 4.0 name the blocks of memory backends by the backends' whole paths.
bool is_named(const RamBlock& block, const std::string& name) {
  return block.name == name || block.name == "/objects/" + name;
}

std::optional<uint32_t> find_block(const MigrationStream& stream, const std::string& name, uint64_t bytes) {
  for (uint32_t i = 0; i < stream.blocks.size(); i++)
    if (is_named(stream.blocks[i], name) && stream.blocks[i].bytes == bytes) return i;
  return std::nullopt;
}

/// The block behind a device that is itself on a bus: its name follows the device's place on it. Two of a
/// name and length tell nothing.
std::optional<uint32_t> find_behind_place(const MigrationStream& stream, const std::string& name,
                                          uint64_t bytes) {
  std::optional<uint32_t> found;
  for (uint32_t i = 0; i < stream.blocks.size(); i++) {
    if (!stream.blocks[i].name.ends_with("/" + name) || stream.blocks[i].bytes != bytes) continue;
    if (found) return std::nullopt;
    found = i;
  }
  return found;
}

std::optional<uint32_t> find_device_block(const MigrationStream& stream, const MemoryDevice& device) {
  const auto plain = find_block(stream, device.block, device.bytes);
  return plain || device.model != "virtio-mem" ? plain
                                               : find_behind_place(stream, device.block, device.bytes);
}

/// What <memory> counts beside the machine's own RAM.
uint64_t plugged_bytes(const DomainXml& domain) {
  uint64_t total = 0;
  for (const MemoryDevice& device : domain.memory_devices)
    total += std::min(device.bytes, UINT64_MAX - total);
  return total;
}

/// The blocks that back guest RAM, in guest-physical order: pc.ram, or one a NUMA cell (libvirt names them by
/// cell id).
std::optional<std::vector<Backing>> backings(const DomainXml& domain, const MigrationStream& stream,
                                             uint64_t ram) {
  std::vector<Backing> out;
  if (auto whole = find_block(stream, "pc.ram", ram)) {
    out.push_back({*whole, ram});
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
  if (total != ram) return std::nullopt;
  return out;
}

/// Cuts one backing at the PCI hole: what reaches past `low` continues at 4 GiB.
void place(const Backing& backing, uint64_t ram_offset, uint64_t low, std::vector<Segment>& out) {
  uint64_t done = 0;
  if (ram_offset < low) {
    done = std::min(backing.bytes, low - ram_offset);
    out.push_back({ram_offset, done, backing.block, 0, false});
  }
  if (done == backing.bytes) return;
  const uint64_t above = ram_offset + done - low;
  out.push_back({kFourGiB + above, backing.bytes - done, backing.block, done / kPageSize, false});
}

/// `segments` end where the last one ends: devices are placed in ascending order. Persistent memory is left
/// out, for its pages are not the kernel's to allocate.
void place_device(const MemoryDevice& device, const MigrationStream& stream, std::vector<Segment>& segments) {
  if ((device.model != "dimm" && device.model != "virtio-mem") || !device.base || *device.base % kPageSize)
    return;
  const auto block = find_device_block(stream, device);
  const uint64_t end = segments.back().gpa + segments.back().bytes, begin = *device.base;
  if (!block || begin < std::max(end, kFourGiB) || begin - std::max(end, kFourGiB) > kMaxGap) return;
  const auto backs = [&](const Segment& s) { return s.block == *block; };
  if (std::none_of(segments.begin(), segments.end(), backs))
    segments.push_back({begin, device.bytes, *block, 0, true});
}

void place_devices(const DomainXml& domain, const MigrationStream& stream, std::vector<Segment>& segments) {
  std::vector<MemoryDevice> devices = domain.memory_devices;
  std::stable_sort(devices.begin(), devices.end(),
                   [](const auto& a, const auto& b) { return a.base < b.base; });
  for (const MemoryDevice& device : devices) place_device(device, stream, segments);
}

}  // namespace

Believed<std::vector<Segment>> lay_out_ram(const DomainXml& domain, const MigrationStream& stream) {
  if (domain.architecture != "x86_64")
    return Disbelief{"the guest is " + domain.architecture + ", not x86_64"};
  const uint64_t plugged = plugged_bytes(domain),
                 ram = domain.memory_bytes - std::min(plugged, domain.memory_bytes);
  const uint64_t low = low_memory(domain.machine, ram);
  if (low == 0) return Disbelief{"the memory layout of machine type " + domain.machine + " is not known"};
  auto blocks = backings(domain, stream, ram);
  if (!blocks) return Disbelief{"the RAM blocks do not add up to the memory in the domain XML"};
  std::vector<Segment> segments;
  uint64_t ram_offset = 0;
  for (const Backing& backing : *blocks) {
    place(backing, ram_offset, low, segments);
    ram_offset += backing.bytes;
  }
  std::sort(segments.begin(), segments.end(),
            [](const Segment& a, const Segment& b) { return a.gpa < b.gpa; });
  place_devices(domain, stream, segments);
  return segments;
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
