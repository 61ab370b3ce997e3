// SPDX-License-Identifier: Apache-2.0
#include "guest/disk_types.hh"

namespace pars::test {
namespace {

// A kernel of 5.11 or later: a partition is a block_device. `holder` is what names a member of a stacked
// disk.
void add_disks(KernelTypes& k, const char* holder) {
  k.structs["kobject"] = {64, {{"name", 0}, {"sd", 48}}};
  k.structs["bus_type"] = {168, {{"name", 0}, {"dev_name", 8}}};
  k.structs["device"] = {768, {{"kobj", 0, {0, "kobject"}}, {"parent", 64}, {"bus", 96}}};
  k.structs["block_device"] = {1024,
                               {{"bd_start_sect", 0},
                                {"bd_nr_sectors", 8},
                                {"bd_disk", 16},
                                {"bd_holder", 80},
                                {"bd_holder_dir", 136},
                                {"bd_device", 208, {0, "device"}}}};
  k.structs["bdev_inode"] = {1664, {{"bdev", 0, {0, "block_device"}}, {"vfs_inode", 1024, {0, "inode"}}}};
  k.structs["block_device_operations"] = {144, {{"submit_bio", 0}, {"owner", 120}}};
  k.structs["gendisk"] = {776,
                          {{"major", 0, {4}},
                           {"disk_name", 12, {1, "", 32}},
                           {"part0", 64},
                           {"fops", 72},
                           {"private_data", 88},
                           {"slave_bdevs", 624, {0, "list_head"}}}};
  k.structs["bd_holder_disk"] = {32, {{"list", 0, {0, "list_head"}}, {holder, 16}, {"refcnt", 24, {4}}}};
  k.structs["file"] = {232, {{"f_mode", 0, {4}}, {"f_mapping", 24}}};
}

void add_device_mapper(KernelTypes& k) {
  k.structs["mapped_device"] = {776, {{"map", 80}, {"flags", 88}, {"disk", 184}}};
  k.structs["dm_table"] = {
      328, {{"md", 0}, {"num_targets", 208, {4}}, {"targets", 224}, {"devices", 248, {0, "list_head"}}}};
  k.structs["dm_target"] = {80, {{"table", 0}, {"type", 8}, {"begin", 16}, {"len", 24}, {"private", 56}}};
  k.structs["target_type"] = {232, {{"features", 0}, {"name", 8}, {"module", 16}}};
  k.structs["dm_dev"] = {48, {{"bdev", 0}, {"mode", 24, {4}}}};
  k.structs["dm_dev_internal"] = {32, {{"list", 0, {0, "list_head"}}, {"count", 16, {4}}, {"dm_dev", 24}}};
  k.structs["pool_features"] = {8, {{"mode", 0, {4}}}};
  k.structs["pool"] = {648, {{"ti", 16}, {"pf", 72, {0, "pool_features"}}}};
  k.structs["pool_c"] = {56, {{"ti", 0}, {"pool", 8}}};
  k.structs["linear_c"] = {16, {{"dev", 0}, {"start", 8}}};
  k.structs["stripe"] = {24, {{"dev", 0}, {"physical_start", 8}}};
  k.structs["stripe_c"] = {72, {{"stripes", 0, {4}}, {"chunk_size", 16, {4}}, {"stripe", 72, {0, "stripe"}}}};
  k.structs["dm_origin"] = {48, {{"dev", 0}, {"ti", 8}}};
  k.enums["pool_mode"] = {{"PM_WRITE", 0}, {"PM_OUT_OF_DATA_SPACE", 1}, {"PM_FAIL", 4}};
}

// `name` is what a personality keeps its name in: itself, or its head.
void add_arrays(KernelTypes& k, bool name_in_head) {
  k.structs["md_submodule_head"] = {24, {{"type", 0, {4}}, {"name", 8}}};
  if (name_in_head) k.structs["md_personality"] = {192, {{"head", 0, {0, "md_submodule_head"}}}};
  else k.structs["md_personality"] = {208, {{"name", 0}, {"level", 8, {4}}}};
  k.structs["mddev"] = {2336,
                        {{"pers", 8},
                         {"disks", 24, {0, "list_head"}},
                         {"flags", 40},
                         {"suspended", 56, {4}},
                         {"gendisk", 120},
                         {"chunk_sectors", 300, {4}},
                         {"level", 304, {4}},
                         {"layout", 308, {4}},
                         {"raid_disks", 312, {4}},
                         {"degraded", 580, {4}}}};
  k.structs["md_rdev"] = {384,
                          {{"same_set", 0, {0, "list_head"}},
                           {"mddev", 24},
                           {"bdev", 48},
                           {"data_offset", 96},
                           {"flags", 192},
                           {"raid_disk", 200, {4}}}};
  k.structs["raid_set"] = {2848, {{"ti", 0}, {"md", 88, {0, "mddev"}}}};
  k.enums["mddev_flags"] = {{"MD_CLOSING", 1}, {"MD_BROKEN", 9}};
  k.enums["flag_bits"] = {{"Faulty", 0}, {"In_sync", 1}};
}

void add_loop(KernelTypes& k) {
  k.structs["loop_device"] = {480,
                              {{"lo_number", 0, {4}},
                               {"lo_offset", 16},
                               {"lo_backing_file", 96},
                               {"lo_state", 120, {4}},
                               {"lo_disk", 432}}};
  k.enums[""]["Lo_unbound"] = 0, k.enums[""]["Lo_bound"] = 1, k.enums[""]["Lo_rundown"] = 2;
}

}  // namespace

void add_old_disks(KernelTypes& k) {
  add_disks(k, "bdev");
  k.structs.erase("bd_holder_disk");
  k.structs["hd_struct"] = {880, {{"start_sect", 0}, {"nr_sects", 8}, {"__dev", 48, {0, "device"}}}};
  k.structs["block_device"] = {256, {{"bd_holder", 80}, {"bd_part", 112}, {"bd_disk", 128}}};
  k.structs["bdev_inode"] = {896, {{"bdev", 0, {0, "block_device"}}, {"vfs_inode", 256, {0, "inode"}}}};
  k.structs["gendisk"] = {1136,
                          {{"major", 0, {4}},
                           {"disk_name", 12, {1, "", 32}},
                           {"part0", 56, {0, "hd_struct"}},
                           {"fops", 936},
                           {"private_data", 952}}};
}

void add_stacked_disks(KernelTypes& k, const char* holder, bool name_in_head) {
  add_disks(k, holder);
  add_device_mapper(k);
  add_arrays(k, name_in_head);
  add_loop(k);
}

}  // namespace pars::test
