// SPDX-License-Identifier: Apache-2.0
// Where the fields of block devices lie, and of the devices they hang from: by name, from the kernel's own
// BTF.
#pragma once
#include <optional>

#include "core/kernel/btf.hh"

namespace pars {

/// The devices that a stacked disk is made of, as `bd_link_disk_holder` lists them (Linux block/holder.c).
struct MembersLayout {
  uint32_t list;       ///< gendisk.slave_bdevs
  uint32_t link;       ///< bd_holder_disk.list
  uint32_t named;      ///< bd_holder_disk.bdev or, in later kernels, .holder_dir
  bool by_directory;   ///< which of the two
  uint32_t directory;  ///< block_device.bd_holder_dir
};

/// A disk (gendisk), its partitions, and the way up from it to a bus.
struct DiskLayout {
  /// gendisk.part0, which is the whole disk: a pointer to a block_device, or (before 5.11) a hd_struct
  /// inside.
  uint32_t whole;
  bool embedded;
  uint32_t partition;               ///< block_device.bd_part, where that is a hd_struct of its own
  uint32_t start, sectors, device;  ///< of a block_device or a hd_struct; in units of 512 bytes
  uint32_t parent, bus, device_name, bus_name;  ///< device.parent, .bus, .kobj.name; bus_type.name
  uint32_t private_data;                        ///< gendisk
  uint32_t operations, owner;                   ///< gendisk.fops, block_device_operations.owner
  std::optional<MembersLayout> members;
};

/// nullopt when this kernel's BTF lacks any of it but `members`: then no disk is proven.
std::optional<DiskLayout> resolve_disks(const Btf& btf);

}  // namespace pars
