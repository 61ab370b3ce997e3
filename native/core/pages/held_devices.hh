// SPDX-License-Identifier: Apache-2.0
// Block devices and who holds them, from the kernel's own file system of block devices (R13).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/kernel/kernel_layout.hh"
#include "core/kernel/kernel_memory.hh"

namespace pars {

struct HeldDevices {
  uint64_t file_system;  ///< super block of the kernel's own file system of block devices; 0: not found
  std::unordered_set<uint64_t> devices;
  std::unordered_map<uint64_t, std::vector<uint64_t>> holdings;  ///< by holder
};

/// From the list of the inodes of their file system; none when the list does not end.
HeldDevices held_devices(const KernelMemory& memory, const CacheLayout& layout, uint64_t device_sb);

/// The super block of the kernel's own file system of block devices: on the list of all, as any other's is
/// (Linux fs/super.c, sget_fc). The list's head, met once on the way round, is none.
std::optional<uint64_t> block_device_file_system(const KernelMemory& memory, const CacheLayout& layout,
                                                 uint64_t sb);

/// The name of a super block's file system.
std::optional<std::string> file_system_name(const KernelMemory& memory, const CacheLayout& layout,
                                            uint64_t sb);

}  // namespace pars
