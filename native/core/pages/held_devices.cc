// SPDX-License-Identifier: Apache-2.0
#include "core/pages/held_devices.hh"

namespace pars {

namespace {

constexpr uint64_t kMaxBlockDevices = 1 << 16, kMaxSuperBlocks = 1 << 14;

}  // namespace

HeldDevices held_devices(const KernelMemory& memory, const CacheLayout& layout, uint64_t device_sb) {
  HeldDevices held{device_sb, {}, {}};
  if (file_system_name(memory, layout, device_sb) != "bdev") return held;
  const BlockDevicesLayout& d = *layout.devices;
  const uint64_t head = device_sb + d.sb_inodes;
  uint64_t link = memory.u64(head).value_or(0);
  for (uint64_t steps = 0; link != head; steps++) {
    const uint64_t device = link - d.inode_link - d.inode_in_pair + d.device_in_pair;
    const auto holder = memory.u64(device + d.holder), next = memory.u64(link);
    if (steps == kMaxBlockDevices || !holder || !next) return {device_sb, {}, {}};
    link = *next;
    if (*holder == 0) continue;
    held.devices.insert(device);
    held.holdings[*holder].push_back(device);
  }
  return held;
}

std::optional<uint64_t> block_device_file_system(const KernelMemory& memory, const CacheLayout& layout,
                                                 uint64_t sb) {
  const uint64_t start = sb + layout.devices->sb_list;
  auto link = memory.u64(start);
  for (uint64_t steps = 0; link && *link != start && steps < kMaxSuperBlocks; steps++) {
    const uint64_t other = *link - layout.devices->sb_list;
    if (file_system_name(memory, layout, other) == "bdev") return other;
    link = memory.u64(*link);
  }
  return std::nullopt;
}

std::optional<std::string> file_system_name(const KernelMemory& memory, const CacheLayout& layout,
                                            uint64_t sb) {
  auto type = memory.u64(sb + layout.sb_type);
  auto name_at = type ? memory.u64(*type + layout.fs_name) : std::nullopt;
  return name_at ? memory.text(*name_at, 32) : std::nullopt;
}

}  // namespace pars
