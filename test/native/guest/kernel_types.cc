// SPDX-License-Identifier: Apache-2.0
#include "guest/kernel_types.hh"

#include "guest/disk_types.hh"

namespace pars::test {
namespace {

void add_page_cache_types(KernelTypes& k) {
  k.structs["xarray"] = {16, {{"xa_lock", 0, {4}}, {"xa_flags", 4, {4}}, {"xa_head", 8, {8}}}};
  k.structs["xa_node"] = {
      576, {{"shift", 0, {1}}, {"offset", 1, {1}}, {"count", 2, {1}}, {"slots", 40, {8, "", kFanout}}}};
  k.structs["address_space"] = {192,
                                {{"host", 0},
                                 {"i_pages", 8, {0, "xarray"}},
                                 {"nr_thps", 64, {4}},
                                 {"nrpages", 88},
                                 {"flags", 112},
                                 {"wb_err", 120, {4}}}};
  k.structs["inode"] = {640,
                        {{"i_mode", 0, {2}},
                         {"i_flags", 12, {4}},
                         {"i_sb", 40},
                         {"i_mapping", 48},
                         {"i_size", 80},
                         {"i_blkbits", 142, {1}},
                         {"i_sb_list", 272, {0, "list_head"}},
                         {"i_data", 368, {0, "address_space"}}}};
  k.structs["super_block"] = {1024,
                              {{"s_list", 0, {0, "list_head"}},
                               {"s_blocksize_bits", 20, {1}},
                               {"s_type", 40},
                               {"s_bdev", 216},
                               {"s_fs_info", 224},
                               {"s_wb_err", 400, {4}},
                               {"s_inodes", 512, {0, "list_head"}}}};
  k.structs["file_system_type"] = {72, {{"name", 0}, {"fs_flags", 8, {4}}, {"owner", 48}}};
  k.enums["mapping_flags"] = {
      {"AS_EIO", 0}, {"AS_ENOSPC", 1}, {"AS_MM_ALL_LOCKS", 2}, {"AS_UNEVICTABLE", 3}, {"AS_EXITING", 4}};
}

// XFS and btrfs are built in, but in the tests of modules.
void add_file_systems(KernelTypes& k) {
  k.structs["xfs_inode"] = {992, {{"i_ino", 0}, {"i_diflags", 272, {2}}, {"i_vnode", 304, {0, "inode"}}}};
  k.structs["xfs_mount"] = {3584, {{"m_super", 264}, {"m_opstate", 1144}}};
  k.structs["ext4_sb_info"] = {2240, {{"s_mount_state", 168, {2}}, {"s_sb", 568}, {"s_ext4_flags", 592}}};
  k.structs["btrfs_key"] = {17, {{"objectid", 0}, {"type", 8, {1}}, {"offset", 9}}};
  k.structs["btrfs_root"] = {1024, {{"node", 0}, {"root_key", 503, {0, "btrfs_key"}}}};
  k.structs["extent_io_tree"] = {24, {{"state", 0}, {"inode", 8}, {"owner", 16, {1}}}};
  k.structs["btrfs_inode"] = {1080, {{"root", 0}, {"flags", 256, {4}}, {"vfs_inode", 392, {0, "inode"}}}};
}

void add_btrfs_folio_state(KernelTypes& k) {
  k.structs["btrfs_folio_state"] = {8, {{"lock", 0, {4}}, {"nr_locked", 4, {4}}, {"bitmaps", 8, {8, "", 0}}}};
  k.enums[""] = {{"btrfs_bitmap_nr_uptodate", 0},
                 {"btrfs_bitmap_nr_dirty", 1},
                 {"btrfs_bitmap_nr_writeback", 2},
                 {"btrfs_bitmap_nr_fixup", 3},
                 {"btrfs_bitmap_nr_max", 4}};
}

// Modules, and the tree behind /sys that shows their types.
void add_modules(KernelTypes& k, const char* parent) {
  k.structs["rb_node"] = {24, {{"__rb_parent_color", 0}, {"rb_right", 8}, {"rb_left", 16}}};
  k.structs["rb_root"] = {8, {{"rb_node", 0}}};
  k.structs["kernfs_elem_dir"] = {32, {{"subdirs", 0}, {"children", 8, {0, "rb_root"}}, {"root", 16}}};
  k.structs["kernfs_node"] = {128,
                              {{"count", 0, {4}},
                               {parent, 8},
                               {"name", 16},
                               {"rb", 24, {0, "rb_node"}},
                               {"dir", 64, {0, "kernfs_elem_dir"}},
                               {"priv", 96}}};
  k.structs["kobject"] = {64, {{"name", 0}, {"sd", 48}}};
  k.structs["module_kobject"] = {96, {{"kobj", 0, {0, "kobject"}}, {"mod", 64}}};
  k.structs["module"] = {
      896, {{"state", 0, {4}}, {"name", 24, {1, "", 56}}, {"mkobj", 80, {0, "module_kobject"}}}};
  k.structs["attribute"] = {16, {{"name", 0}, {"mode", 8, {2}}}};
  k.structs["bin_attribute"] = {64, {{"attr", 0, {0, "attribute"}}, {"size", 16}, {"private", 24}}};
  k.structs["btf"] = {208,
                      {{"data", 0},
                       {"nr_types", 72, {4}},
                       {"data_size", 80, {4}},
                       {"base_btf", 128},
                       {"start_id", 136, {4}},
                       {"start_str_off", 140, {4}},
                       {"name", 144, {1, "", 56}},
                       {"kernel_btf", 200, {1}}}};
}

// Buffer heads, which every kernel has had; what they point back to has had two names.
void add_buffer_head(KernelTypes& k, const char* folio, const char* association) {
  k.structs["buffer_head"] = {104,
                              {{"b_state", 0},
                               {"b_this_page", 8},
                               {folio, 16},
                               {"b_blocknr", 24},
                               {"b_size", 32},
                               {"b_data", 40},
                               {"b_bdev", 48},
                               {"b_end_io", 56},
                               {"b_private", 64},
                               {association, 88},
                               {"b_count", 96, {4}},
                               {"b_uptodate_lock", 100, {4}}}};
  k.enums["bh_state_bits"] = {
      {"BH_Uptodate", 0},     {"BH_Dirty", 1},    {"BH_Lock", 2},       {"BH_Req", 3},
      {"BH_Mapped", 4},       {"BH_New", 5},      {"BH_Async_Read", 6}, {"BH_Async_Write", 7},
      {"BH_Delay", 8},        {"BH_Boundary", 9}, {"BH_Write_EIO", 10}, {"BH_Unwritten", 11},
      {"BH_Quiet", 12},       {"BH_Meta", 13},    {"BH_Prio", 14},      {"BH_Defer_Completion", 15},
      {"BH_PrivateStart", 16}};
}

void add_iomap_page(KernelTypes& k) {
  k.structs["iomap_page"] = {16,
                             {{"read_bytes_pending", 0, {4}},
                              {"write_bytes_pending", 4, {4}},
                              {"uptodate_lock", 8, {4}},
                              {"uptodate", 16, {8, "", 0}}}};
}

void add_iomap_folio_state(KernelTypes& k) {
  k.structs["iomap_folio_state"] = {16,
                                    {{"state_lock", 0, {4}},
                                     {"read_bytes_pending", 4, {4}},
                                     {"write_bytes_pending", 8, {4}},
                                     {"state", 16, {8, "", 0}}}};
}

void add_zone_types(KernelTypes& k) {
  k.structs["list_head"] = {16, {{"next", 0}, {"prev", 8}}};
  k.structs["free_area"] = {72, {{"free_list", 0, {0, "list_head", kMigrateTypes}}, {"nr_free", 64}}};
  k.structs["zone"] = {
      1024, {{"zone_start_pfn", 40}, {"spanned_pages", 56}, {"free_area", 128, {0, "free_area", kOrders}}}};
  k.structs["pglist_data"] = {3 * 1024 + 64, {{"node_zones", 0, {0, "zone", kZones}}}};
  k.structs["mem_section"] = {16, {{"section_mem_map", 0}, {"usage", 8}}};
  k.structs["new_utsname"] = {
      390, {{"sysname", 0, {1, "", 65}}, {"nodename", 65, {1, "", 65}}, {"release", 130, {1, "", 65}}}};
  k.structs["uts_namespace"] = {424, {{"name", 4, {0, "new_utsname"}}}};
}

// What all the kernels of this file share.
KernelTypes common_types() {
  KernelTypes k;
  k.structs["page"] = {64,
                       {{"flags", 0},
                        {"lru", 8, {0, "list_head"}},
                        {"buddy_list", 8, {0, "list_head"}},
                        {"compound_head", 8},
                        {"mapping", 24},
                        {"index", 32},
                        {"private", 40},
                        {"_mapcount", 48, {4}},
                        {"_refcount", 52, {4}}}};
  k.enums["pageflags"] = {
      {"PG_locked", 0},    {"PG_referenced", 1},  {"PG_uptodate", 2},     {"PG_dirty", 3},
      {"PG_lru", 4},       {"PG_active", 5},      {"PG_workingset", 6},   {"PG_waiters", 7},
      {"PG_error", 8},     {"PG_checked", 10},    {"PG_arch_1", 11},      {"PG_reserved", 12},
      {"PG_private", 13},  {"PG_private_2", 14},  {"PG_writeback", 15},   {"PG_head", 16},
      {"PG_reclaim", 18},  {"PG_swapbacked", 19}, {"PG_unevictable", 20}, {"PG_mlocked", 21},
      {"PG_hwpoison", 23}, {"PG_swapcache", 24}};
  add_zone_types(k);
  add_page_cache_types(k);
  return k;
}

}  // namespace

KernelTypes linux_6_1() {
  KernelTypes k = common_types();
  k.structs["folio"] = {256,
                        {{"flags", 0},
                         {"mapping", 24},
                         {"index", 32},
                         {"private", 40},
                         {"_mapcount", 48, {4}},
                         {"_refcount", 52, {4}},
                         {"_flags_1", 64},
                         {"_folio_order", 81, {1}},
                         {"_total_mapcount", 84, {4}}}};
  k.enums["pageflags"]["PG_slab"] = 9;
  k.enums["mapping_flags"]["AS_LARGE_FOLIO_SUPPORT"] = 6;
  k.enums["page_memcg_data_flags"] = {{"MEMCG_DATA_OBJCGS", 1}};
  add_buffer_head(k, "b_page", "b_assoc_map");
  add_iomap_page(k);
  add_file_systems(k);
  add_stacked_disks(k, "bdev", false);
  add_modules(k, "parent");
  return k;
}

KernelTypes linux_5_10() {
  KernelTypes k = common_types();
  auto& page = k.structs["page"].fields;
  page.push_back({"compound_order", 17, {1}});
  page.push_back({"compound_mapcount", 20, {4}});
  k.enums["pageflags"]["PG_slab"] = 9;
  add_buffer_head(k, "b_page", "b_assoc_map");
  add_iomap_page(k);
  add_old_disks(k);
  return k;
}

KernelTypes linux_6_12() {
  KernelTypes k = common_types();
  k.structs["folio"] = {256,
                        {{"flags", 0},
                         {"mapping", 24},
                         {"index", 32},
                         {"private", 40},
                         {"_mapcount", 48, {4}},
                         {"_refcount", 52, {4}},
                         {"_flags_1", 64},
                         {"_large_mapcount", 80, {4}},
                         {"_entire_mapcount", 84, {4}}}};
  k.enums["pagetype"] = {{"PGTY_buddy", 0xf0},   {"PGTY_offline", 0xf1}, {"PGTY_table", 0xf2},
                         {"PGTY_guard", 0xf3},   {"PGTY_hugetlb", 0xf4}, {"PGTY_slab", 0xf5},
                         {"PGTY_zsmalloc", 0xf6}};
  k.enums["mapping_flags"]["AS_INACCESSIBLE"] = 8;
  k.enums["mapping_flags"]["AS_FOLIO_ORDER_MIN"] = 16;
  k.enums["mapping_flags"]["AS_FOLIO_ORDER_MAX"] = 21;
  add_buffer_head(k, "b_folio", "b_assoc_map");
  add_iomap_folio_state(k);
  add_file_systems(k);
  add_stacked_disks(k, "holder_dir", false);
  add_modules(k, "parent");
  return k;
}

KernelTypes linux_7_1() {
  KernelTypes k = linux_6_12();
  k.drop("page", "compound_head").add("page", {"compound_info", 8, {}});
  add_buffer_head(k, "b_folio", "b_mmb");
  k.enums["bh_state_bits"]["BH_Migrate"] = 16, k.enums["bh_state_bits"]["BH_PrivateStart"] = 17;
  add_btrfs_folio_state(k);
  add_stacked_disks(k, "holder_dir", true);
  add_modules(k, "__parent");
  return k;
}

const std::map<std::string, KernelTypes> kKernels = {{"5.10", linux_5_10()},
                                                     {"6.1", linux_6_1()},
                                                     {"6.12", linux_6_12()},
                                                     {"7.1", linux_7_1()}};
const std::map<std::string, KernelTypes> kFolioKernels = {{"6.1", linux_6_1()},
                                                          {"6.12", linux_6_12()},
                                                          {"7.1", linux_7_1()}};

}  // namespace pars::test
