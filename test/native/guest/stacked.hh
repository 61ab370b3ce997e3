// SPDX-License-Identifier: Apache-2.0
// A guest whose file lies on a disk that stands on others: dm, md or loop, as their drivers keep it.
#pragma once
#include "guest/guest.hh"

namespace pars::test {

class StackedGuest : public Guest {
 public:
  explicit StackedGuest(KernelTypes types) : Guest({.types = std::move(types)}) {
    for (uint64_t i = 0; i < 11; i++) add_free(1344 + 64 * i, 0);
  }

  /// The file `ext4` is on this device from now on.
  void move_to(uint64_t device) {
    set("super_block", ext4.super_block, "s_bdev", device);
    top = device;
  }
  uint64_t top = 0;
  uint64_t disk_of(uint64_t device) { return get("block_device", device, "bd_disk"); }
  uint64_t driver_of(uint64_t device) { return get("gendisk", disk_of(device), "private_data"); }

  /// A device-mapper device with a target of each of these types, all of whose devices are `members`.
  uint64_t add_dm(const std::vector<std::string>& targets, const std::vector<uint64_t>& members) {
    const uint64_t device = make_whole("dm-" + std::to_string(minors_++), 1), md = make("mapped_device");
    const uint64_t table = make("dm_table");
    set("gendisk", disk_of(device), "private_data", md);
    set("mapped_device", md, "disk", disk_of(device)), set("mapped_device", md, "map", table);
    set("dm_table", table, "md", md), set("dm_table", table, "num_targets", targets.size());
    const uint64_t array = allocate(targets.size() * types.bytes("dm_target"));
    set("dm_table", table, "targets", array);
    for (size_t i = 0; i < targets.size(); i++)
      fill_target(table, array + i * types.bytes("dm_target"), targets[i]);
    begin_list(table + types.offset("dm_table", "devices"));
    for (uint64_t member : members) {
      const uint64_t entry = make("dm_dev_internal"), dev = make("dm_dev");
      set("dm_dev", dev, "bdev", member), set("dm_dev_internal", entry, "dm_dev", dev);
      push(table + types.offset("dm_table", "devices"), entry + types.offset("dm_dev_internal", "list"));
    }
    hold(device, members);
    return device;
  }
  uint64_t table_of(uint64_t device) { return get("mapped_device", driver_of(device), "map"); }
  uint64_t target_of(uint64_t device) { return get("dm_table", table_of(device), "targets"); }
  void set_target_type(uint64_t device, const std::string& type) {
    set("target_type", get("dm_target", target_of(device), "type"), "name", text(type));
  }

  uint64_t add_md(const std::string& personality, const std::vector<uint64_t>& members) {
    const uint64_t device = make_whole("md" + std::to_string(minors_++), 1), md = make("mddev");
    set("gendisk", disk_of(device), "private_data", md), set("mddev", md, "gendisk", disk_of(device));
    fill_array(md, personality, members);
    hold(device, members);
    return device;
  }
  uint64_t first_member(uint64_t md) {
    return word(md + types.offset("mddev", "disks")) - types.offset("md_rdev", "same_set");
  }

  uint64_t add_loop(const File& backing) {
    const uint64_t device = make_whole("loop" + std::to_string(minors_++), 1), loop = make("loop_device");
    const uint64_t file = make("file");
    set("gendisk", disk_of(device), "private_data", loop);
    begin_list(disk_of(device) + types.offset("gendisk", "slave_bdevs"));
    set("loop_device", loop, "lo_disk", disk_of(device)), set("loop_device", loop, "lo_state", 1);
    set("loop_device", loop, "lo_backing_file", file), set("file", file, "f_mapping", backing.mapping);
    return device;
  }

  /// The block layer's own list of what a disk stands on.
  void hold(uint64_t device, const std::vector<uint64_t>& members) {
    begin_list(disk_of(device) + types.offset("gendisk", "slave_bdevs"));
    for (uint64_t member : members) add_member(device, member);
  }
  void add_member(uint64_t device, uint64_t member) {
    const uint64_t holder = make("bd_holder_disk");
    const bool by_directory = types.has("bd_holder_disk", "holder_dir");
    if (by_directory)
      set("bd_holder_disk", holder, "holder_dir", get("block_device", member, "bd_holder_dir"));
    else set("bd_holder_disk", holder, "bdev", member);
    push(disk_of(device) + types.offset("gendisk", "slave_bdevs"),
         holder + types.offset("bd_holder_disk", "list"));
  }
  uint64_t members_list(uint64_t device) { return disk_of(device) + types.offset("gendisk", "slave_bdevs"); }
  void begin_list(uint64_t head) { set_word(head, head), set_word(head + 8, head); }

 private:
  void fill_target(uint64_t table, uint64_t target, const std::string& name) {
    const uint64_t type = make("target_type");
    set("target_type", type, "name", text(name));
    set("dm_target", target, "table", table), set("dm_target", target, "type", type);
    if (name == "thin-pool") {
      const uint64_t context = make("pool_c"), pool = make("pool");
      set("pool_c", context, "ti", target), set("pool_c", context, "pool", pool);
      set("dm_target", target, "private", context);
    } else if (name == "raid") {
      const uint64_t raid = make("raid_set");
      set("raid_set", raid, "ti", target), set("dm_target", target, "private", raid);
      fill_array(raid + types.offset("raid_set", "md"), "raid1", {});
    }
  }
  void fill_array(uint64_t md, const std::string& name, const std::vector<uint64_t>& members) {
    const uint64_t personality = make("md_personality");
    if (types.has("md_personality", "head"))
      set("md_submodule_head", personality + types.offset("md_personality", "head"), "name", text(name));
    else set("md_personality", personality, "name", text(name));
    set("mddev", md, "pers", personality);
    begin_list(md + types.offset("mddev", "disks"));
    for (uint64_t member : members) {
      const uint64_t rdev = make("md_rdev");
      set("md_rdev", rdev, "mddev", md), set("md_rdev", rdev, "bdev", member);
      set("md_rdev", rdev, "flags", types.bit("flag_bits", "In_sync"));
      push(md + types.offset("mddev", "disks"), rdev + types.offset("md_rdev", "same_set"));
    }
  }

  uint64_t minors_ = 0;
};

}  // namespace pars::test
