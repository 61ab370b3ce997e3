// SPDX-License-Identifier: Apache-2.0
// The healthy guest: files of every sort in its cache, memory of every class, free blocks of every order.
#pragma once
#include "guest/kernel.hh"

namespace pars::test {

struct File {
  uint64_t inode = 0, mapping = 0, super_block = 0, block_device = 0;
};

class Guest : public Kernel {
 public:
  explicit Guest(GuestOptions asked = {}) : Kernel(std::move(asked)), spreading_(options.spread) {
    ext4 = make_file("ext4", "vda");
    for (uint64_t i = 0; i < 40; i++) small.push_back(add_folio(ext4, i / 4 * 64 + i % 4));
    xfs = make_file("xfs", "vdb");
    if (knows_large_folios()) {
      allow_large(xfs, 9);
      for (uint32_t order : {2, 4, 6, 7}) large[order] = add_folio(xfs, 1ull << (order + 2), order);
    }
    spreading_ = false;
    add_others();
    if (options.cells.size() == 1 && options.cells[0] == 16 * kMiB)
      for (uint32_t order = 0; order < kOrders; order++) add_free(free_block(order), order);
  }

  File ext4, xfs;
  std::vector<uint64_t> small;         ///< clean pages of `ext4`
  std::map<uint32_t, uint64_t> large;  ///< heads of clean folios of `xfs`, by order
  uint64_t anon = 0, shmem = 0, slab = 0, table = 0, offline = 0, movable = 0;

  /// Where the free block of an order lies: 2048 holds order 10, what follows the smaller ones.
  static uint64_t free_block(uint32_t order) { return 4096 - (2ull << order); }

  bool knows_large_folios() const {
    const auto& flags = types.enums.at("mapping_flags");
    return flags.contains("AS_FOLIO_ORDER_MAX") || flags.contains("AS_LARGE_FOLIO_SUPPORT");
  }
  void allow_large(const File& file, uint32_t order) {
    const auto& flags = types.enums.at("mapping_flags");
    const auto max = flags.find("AS_FOLIO_ORDER_MAX");
    set("address_space", file.mapping, "flags",
        max != flags.end() ? uint64_t{order} << max->second
                           : types.bit("mapping_flags", "AS_LARGE_FOLIO_SUPPORT"));
  }

  /// A regular file on a file system of its own.
  File make_file(const std::string& file_system, const std::string& disk) {
    File f;
    const uint64_t type = make("file_system_type");
    set("file_system_type", type, "name", text(file_system));
    f.super_block = make_super_block(file_system, type);
    if (!disk.empty()) {
      f.block_device = make_disk(disk, type);
      set("super_block", f.super_block, "s_bdev", f.block_device);
    }
    f.inode = make_inode(file_system);
    f.mapping = f.inode + types.offset("inode", "i_data");
    set("inode", f.inode, "i_mode", 0100644), set("inode", f.inode, "i_sb", f.super_block),
        set("inode", f.inode, "i_mapping", f.mapping);
    set("inode", f.inode, "i_blkbits", 12);
    set("address_space", f.mapping, "host", f.inode);
    if (file_system == "btrfs" && types.structs.contains("btrfs_inode")) set_tree(f, 5);
    return f;
  }

  /// One on the list of all, with what its file system keeps of it where the kernel's BTF tells.
  uint64_t make_super_block(const std::string& file_system, uint64_t type) {
    const uint64_t sb = make("super_block"), link = sb + types.offset("super_block", "s_list");
    set("super_block", sb, "s_type", type);
    if (super_blocks == 0)
      super_blocks = allocate(16), set_word(super_blocks, super_blocks),
      set_word(super_blocks + 8, super_blocks);
    push(super_blocks, link);
    const bool xfs = file_system == "xfs";
    if (!types.structs.contains(xfs ? "xfs_mount" : "ext4_sb_info") ||
        (!xfs && !file_system.starts_with("ext")))
      return sb;
    const uint64_t own = make(xfs ? "xfs_mount" : "ext4_sb_info");
    set(xfs ? "xfs_mount" : "ext4_sb_info", own, xfs ? "m_super" : "s_sb", sb);
    set("super_block", sb, "s_fs_info", own);
    return sb;
  }
  uint64_t super_blocks = 0;

  /// A disk of the machine, and its block device as a whole.
  uint64_t make_disk(const std::string& name, uint64_t holder) {
    const uint64_t whole = make_whole(name, holder);
    hang(whole, {"virtio", "pci"});
    return whole;
  }
  /// A disk that hangs from nothing, with a block device for all of it.
  uint64_t make_whole(const std::string& name, uint64_t holder) {
    const uint64_t disk = make("gendisk"), device = make_device(holder);
    memory.write(gpa(disk) + types.offset("gendisk", "disk_name"), name.data(), name.size());
    set("block_device", device, "bd_disk", disk);
    const bool embedded = types.structs.contains("hd_struct");
    if (embedded) set("block_device", device, "bd_part", disk + types.offset("gendisk", "part0"));
    else set("gendisk", disk, "part0", device), set("block_device", device, "bd_holder_dir", make("kobject"));
    set("gendisk", disk, "fops", make("block_device_operations"));
    set_part(device, 0, kDiskSectors);
    return device;
  }
  /// Where a block device's place on its disk is kept.
  uint64_t part_of(uint64_t device) {
    return types.structs.contains("hd_struct") ? get("block_device", device, "bd_part") : device;
  }
  void set_part(uint64_t device, uint64_t start, uint64_t sectors) {
    const bool embedded = types.structs.contains("hd_struct");
    const char* type = embedded ? "hd_struct" : "block_device";
    set(type, part_of(device), embedded ? "start_sect" : "bd_start_sect", start);
    set(type, part_of(device), embedded ? "nr_sects" : "bd_nr_sectors", sectors);
  }
  /// Puts a whole disk below devices of these buses, the nearest first; "" is one without a bus, "=NAME" one
  /// of that name without a bus.
  void hang(uint64_t whole, const std::vector<std::string>& buses) {
    uint64_t below =
        part_of(whole) + (types.structs.contains("hd_struct") ? types.offset("hd_struct", "__dev")
                                                              : types.offset("block_device", "bd_device"));
    for (const std::string& name : buses) {
      const uint64_t device = make("device"), bus = make("bus_type");
      set("kobject", device, "name", text(name.starts_with("=") ? name.substr(1) : "0000:00:04.0"));
      set("bus_type", bus, "name", text(name));
      if (!name.empty() && !name.starts_with("=")) set("device", device, "bus", bus);
      set("device", below, "parent", device);
      below = device;
    }
    set("device", below, "parent", 0);
  }
  static constexpr uint64_t kDiskSectors = 1 << 20;

  /// A block device on the kernel's list of them.
  uint64_t make_device(uint64_t holder) {
    if (devices.super_block == 0) {
      devices = make_file("bdev", "");
      set_word(list_of_devices(), list_of_devices()), set_word(list_of_devices() + 8, list_of_devices());
    }
    const uint64_t device = make("bdev_inode"), inode = inode_of_device(device);
    set("block_device", device, "bd_holder", holder);
    set("inode", inode, "i_mode", 0060600), set("inode", inode, "i_sb", devices.super_block);
    set("address_space", inode + types.offset("inode", "i_data"), "host", inode);
    push(list_of_devices(), link_of(device));
    return device;
  }
  uint64_t list_of_devices() const { return devices.super_block + types.offset("super_block", "s_inodes"); }
  uint64_t inode_of_device(uint64_t device) const { return device + types.offset("bdev_inode", "vfs_inode"); }
  uint64_t link_of(uint64_t device) const {
    return inode_of_device(device) + types.offset("inode", "i_sb_list");
  }
  File devices;

  // --- what XFS and btrfs keep around an inode

  static std::string own_inode(const std::string& file_system) {
    return file_system == "xfs" ? "xfs_inode" : file_system == "btrfs" ? "btrfs_inode" : "";
  }
  uint64_t own_of(const File& file, const std::string& type) const {
    return file.inode - types.offset(type, type == "xfs_inode" ? "i_vnode" : "vfs_inode");
  }
  void set_tree(const File& file, uint64_t id) {
    const uint64_t root = make("btrfs_root");
    set("btrfs_key", root + types.offset("btrfs_root", "root_key"), "objectid", id);
    set("btrfs_inode", own_of(file, "btrfs_inode"), "root", root);
  }

  /// A clean, unmapped folio of a file, where the kernel would keep it.
  uint64_t add_folio(const File& file, uint64_t index, uint32_t order = 0) {
    const uint64_t pfn = take(1ull << order), pages = 1ull << order;
    flag(pfn, "PG_lru"), flag(pfn, "PG_uptodate");
    set_page(pfn, "mapping", file.mapping), set_page(pfn, "index", index), set_page(pfn, "_refcount", pages);
    for (uint64_t i = pfn; i < pfn + pages; i++) memory.fill(i);
    if (order > 0) make_compound(pfn, order);
    store(file.mapping, index, order, page_va(pfn));
    return pfn;
  }
  /// Head, order, map counts and tails.
  void make_compound(uint64_t pfn, uint32_t order) {
    flag(pfn, "PG_head");
    for (uint64_t tail = pfn + 1; tail < pfn + (1ull << order); tail++) {
      set_page(tail, "_refcount", 0);
      if (types.has("page", "compound_info")) set_page(tail, "compound_info", -(64ull << order) | 1);
      else set_page(tail, "compound_head", page_va(pfn) | 1);
    }
    for (const char* name : {"_folio_order", "compound_order"})
      if (types.has("folio", name)) set_page(pfn, name, order);
      else if (types.has("page", name)) set_page(pfn + 1, name, order);
    if (types.has("folio", "_large_mapcount"))
      set_page(pfn, "_flags_1", order), set_page(pfn, "_large_mapcount", 0xffffffff);
    for (const char* name : {"_entire_mapcount", "_total_mapcount"})
      if (types.has("folio", name)) set_page(pfn, name, 0xffffffff);
    if (types.has("page", "compound_mapcount")) set_page(pfn + 1, "compound_mapcount", 0xffffffff);
  }

  // --- the tree of a mapping

  static constexpr uint64_t sibling_of(uint64_t slot) { return slot << 2 | 2; }
  uint64_t root_slot(uint64_t mapping) const {
    return mapping + types.offset("address_space", "i_pages") + types.offset("xarray", "xa_head");
  }
  uint64_t node_slot(uint64_t node, uint64_t slot) const {
    return node + types.offset("xa_node", "slots") + 8 * slot;
  }
  uint64_t word(uint64_t va) { return memory.get(gpa(va), 8); }
  void set_word(uint64_t va, uint64_t value) { memory.put(gpa(va), value, 8); }

  /// Three levels, whatever the file's length: room for an index of 18 bits.
  void store(uint64_t mapping, uint64_t index, uint32_t order, uint64_t entry) {
    uint64_t slot = root_slot(mapping);
    for (uint32_t shift = 12;; shift -= 6) {
      const uint64_t node = child(slot, shift), at = index >> shift & 63;
      slot = node_slot(node, at);
      if (order < shift) continue;
      set_word(slot, entry);
      for (uint64_t i = 1; i < 1ull << (order - shift); i++)
        set_word(node_slot(node, at + i), sibling_of(at));
      return;
    }
  }
  /// The slot of `index` in its lowest node.
  uint64_t slot_of(uint64_t mapping, uint64_t index) {
    uint64_t slot = root_slot(mapping);
    for (uint32_t shift = 12;; shift -= 6) {
      slot = node_slot(word(slot) - 2, index >> shift & 63);
      if (shift == 0 || (word(slot) & 3) != 2) return slot;
    }
  }

 private:
  bool spreading_;  // R6: structures in sixteen pages prove a segment

  uint64_t make_inode(const std::string& file_system) {
    const std::string own = own_inode(file_system);
    if (!types.structs.contains(own)) return make("inode");
    return make(own) + types.offset(own, own == "xfs_inode" ? "i_vnode" : "vfs_inode");
  }
  uint64_t child(uint64_t slot, uint32_t shift) {
    if (word(slot) == 0) {
      if (spreading_) begin_page();
      const uint64_t node = make("xa_node");
      set("xa_node", node, "shift", shift);
      set_word(slot, node | 2);
    }
    return word(slot) - 2;
  }

  void add_others() {
    anon = take(), set_page(anon, "mapping", (kDirectMap + frame::kHeap * kPage) | 1),
    set_page(anon, "_mapcount", 0);
    flag(anon, "PG_lru"), flag(anon, "PG_uptodate"), flag(anon, "PG_swapbacked");
    const File tmpfs = make_file("tmpfs", "");
    shmem = add_folio(tmpfs, 0);
    flag(shmem, "PG_swapbacked");
    slab = take(), mark(slab, "slab");
    table = take(), mark(table, "table");
    offline = take(), mark(offline, "offline");
    movable = take(), set_page(movable, "mapping", (kDirectMap + frame::kHeap * kPage) | 2);
    for (uint64_t pfn : {anon, slab, table, offline, movable}) memory.fill(pfn);
  }
};

}  // namespace pars::test
