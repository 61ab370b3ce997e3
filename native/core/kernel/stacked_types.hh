// SPDX-License-Identifier: Apache-2.0
// What a driver of stacked disks knows of one: by name from the BTF that has the driver's own structures
// (core/kernel/module_types.hh).
#pragma once
#include <optional>

#include "core/kernel/btf.hh"

namespace pars {

inline constexpr uint64_t kDiskNameBytes = 32;    // DISK_NAME_LEN (Linux include/linux/blkdev.h)
inline constexpr uint64_t kDriverNameBytes = 64;  // of a dm target's type, an md personality
/// A host has less.
inline constexpr uint32_t kMaxStackDepth = 8, kMaxStackTargets = 1 << 10, kMaxStackMembers = 1 << 9;

/// Device mapper: LVM and LUKS (Linux drivers/md/dm-core.h, include/linux/device-mapper.h).
struct DmLayout {
  uint32_t disk, flags, table;  ///< mapped_device; `flags` is 0 while nothing is suspended or going away
  uint32_t table_owner, targets, target_count, devices;              ///< dm_table
  uint32_t target_bytes, target_table, target_type, target_private;  ///< dm_target
  uint32_t type_name, type_module;                                   ///< target_type
  uint32_t link, entry, device;  ///< dm_dev_internal.list, .dm_dev; dm_dev.bdev
};

/// An array of md; its `mddev` is also what dm's target "raid" has inside (Linux drivers/md/md.h).
struct MdLayout {
  uint32_t personality, name;                                       ///< mddev.pers, and its name
  uint32_t disk, flags, suspended, degraded, members;               ///< mddev
  uint32_t member_link, member_owner, member_flags, member_device;  ///< md_rdev
  uint64_t broken;                                                  ///< bit of mddev.flags
  uint64_t faulty;                                                  ///< bit of md_rdev.flags
};

/// Linux drivers/md/dm-raid.c.
struct DmRaidLayout {
  MdLayout array;
  uint32_t target, inside;  ///< raid_set.ti, .md
};

/// Linux drivers/md/dm-thin.c.
struct DmPoolLayout {
  uint32_t target, pool;  ///< pool_c.ti, .pool
  uint32_t mode;          ///< pool.pf.mode
  uint32_t writable;      ///< its value while all is well
};

/// Linux drivers/block/loop.c.
struct LoopLayout {
  uint32_t disk, state, file;  ///< loop_device
  uint32_t bound;              ///< value of `state`
};

/// What says where a target's bytes lie. Nothing is proven by it.
struct DmTargets {
  uint32_t begin, length, type, context;    ///< dm_target; sectors of the mapped device
  uint32_t type_name, type_module, device;  ///< target_type.name, .module; dm_dev.bdev
};
/// Linux drivers/md/dm-linear.c.
struct DmLinear {
  uint32_t device, start;  ///< linear_c.dev, .start
};
/// Linux drivers/md/dm-stripe.c.
struct DmStriped {
  uint32_t count, chunk, stripes;                      ///< stripe_c
  uint32_t stripe_bytes, stripe_device, stripe_start;  ///< stripe
};
/// The same of an array of md.
struct ArrayPlaces {
  uint32_t level, layout, chunk, disks, members;                   ///< mddev
  uint32_t member_link, member_device, member_slot, member_start;  ///< md_rdev
};
struct LoopPlaces {
  uint32_t file, offset;  ///< loop_device
};

std::optional<DmTargets> resolve_dm_targets(const Btf& btf);
std::optional<DmLinear> resolve_dm_linear(const Btf& btf);
std::optional<DmStriped> resolve_dm_striped(const Btf& btf);
std::optional<uint32_t> resolve_dm_origin(const Btf& btf);  ///< dm_origin.dev
std::optional<ArrayPlaces> resolve_array_places(const Btf& btf);
std::optional<LoopPlaces> resolve_loop_places(const Btf& btf);

std::optional<DmLayout> resolve_dm(const Btf& btf);
std::optional<MdLayout> resolve_md(const Btf& btf);
std::optional<DmRaidLayout> resolve_dm_raid(const Btf& btf);
std::optional<DmPoolLayout> resolve_dm_pool(const Btf& btf);
std::optional<LoopLayout> resolve_loop(const Btf& btf);

}  // namespace pars
