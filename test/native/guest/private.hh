// SPDX-License-Identifier: Apache-2.0
// Folios with private state, as the file systems of a healthy guest keep it.
#pragma once
#include "guest/guest.hh"

namespace pars::test {

struct PrivateFolio {
  uint64_t pfn = 0;
  uint32_t order = 0, block_bits = 0;
  uint64_t state = 0;             ///< where folio->private points
  std::vector<uint64_t> buffers;  ///< addresses of its buffer heads
  uint64_t blocks() const { return kPage << order >> block_bits; }
};

class PrivateGuest : public Guest {
 public:
  explicit PrivateGuest(KernelTypes types, const std::vector<uint64_t>& cells = {16 * kMiB})
      : Guest({.types = std::move(types), .cells = cells, .local_struct_pages = cells.size() > 1}) {}

  /// A file of a file system with blocks of that size, which may have large folios where the kernel has any.
  /// btrfs holds its disk without its super block naming it.
  File make_private_file(const std::string& file_system, uint32_t block_bits) {
    const bool btrfs = file_system == "btrfs";
    const File file = make_file(file_system, btrfs ? "" : "vdc");
    if (btrfs) add_device("vdc", holder_of(file));
    set("inode", file.inode, "i_blkbits", block_bits);
    if (knows_large_folios()) allow_large(file, 9);
    return file;
  }

  PrivateFolio add_buffered(const File& file, uint64_t index, uint32_t order) {
    PrivateFolio folio = start(file, index, order);
    for (uint64_t i = 0; i < folio.blocks(); i++) folio.buffers.push_back(make("buffer_head"));
    for (uint64_t i = 0; i < folio.blocks(); i++) fill_buffer(folio, i);
    attach(folio, folio.buffers[0]);
    return folio;
  }

  PrivateFolio add_iomap(const File& file, uint64_t index, uint32_t order) {
    PrivateFolio folio = start(file, index, order);
    attach(folio, allocate(bitmap_at() + 2 * folio.blocks() / 8 + 8));
    for (uint64_t i = 0; i < folio.blocks(); i++) set_bit(folio, i, true);
    return folio;
  }

  PrivateFolio add_btrfs_blocks(const File& file, uint64_t index, uint32_t order) {
    PrivateFolio folio = start(file, index, order);
    attach(folio, allocate(types.bytes("btrfs_folio_state") + 4 * folio.blocks() / 8 + 8));
    for (uint64_t i = 0; i < folio.blocks(); i++) set_btrfs_bit(folio, i, true);
    return folio;
  }

  PrivateFolio add_marked(const File& file, uint64_t index, uint32_t order) {
    PrivateFolio folio = start(file, index, order);
    attach(folio, 1);
    return folio;
  }

  // --- block devices

  uint64_t holder_of(const File& file) {
    return types.has("page", "compound_info") ? file.super_block
                                              : get("super_block", file.super_block, "s_type");
  }
  /// A page of the first device's own cache, by which all are found.
  uint64_t device_page() const { return device_page_; }
  uint64_t add_device(const std::string& disk, uint64_t holder) {
    const uint64_t device = make_disk(disk, holder), inode = inode_of_device(device);
    if (device_page_ == 0)
      device_page_ =
          add_folio({inode, inode + types.offset("inode", "i_data"), devices.super_block, device}, 0);
    return device;
  }

  std::string iomap_type() const {
    return types.structs.contains("iomap_folio_state") ? "iomap_folio_state" : "iomap_page";
  }
  uint32_t bitmap_at() const { return types.structs.at(iomap_type()).fields.back().offset; }
  void set_bit(const PrivateFolio& folio, uint64_t bit, bool on) {
    const uint64_t at = gpa(folio.state) + bitmap_at() + bit / 8, byte = memory.get(at, 1);
    memory.put(at, on ? byte | 1u << bit % 8 : byte & ~(1u << bit % 8), 1);
  }
  void set_btrfs_bit(const PrivateFolio& folio, uint64_t bit, bool on) {
    const uint64_t at = gpa(folio.state) + types.offset("btrfs_folio_state", "bitmaps") + bit / 8,
                   byte = memory.get(at, 1);
    memory.put(at, on ? byte | 1u << bit % 8 : byte & ~(1u << bit % 8), 1);
  }
  void attach(PrivateFolio& folio, uint64_t state) {
    folio.state = state;
    flag(folio.pfn, "PG_private");
    set_page(folio.pfn, "private", state);
    set_page(folio.pfn, "_refcount", (1u << folio.order) + 1);
  }
  void set_buffer(const PrivateFolio& folio, uint64_t nth, const std::string& name, uint64_t value) {
    set("buffer_head", folio.buffers[nth], name, value);
  }
  std::string back_pointer() const { return types.has("buffer_head", "b_folio") ? "b_folio" : "b_page"; }
  std::string association() const { return types.has("buffer_head", "b_mmb") ? "b_mmb" : "b_assoc_map"; }

 private:
  uint64_t device_page_ = 0;

  PrivateFolio start(const File& file, uint64_t index, uint32_t order) {
    PrivateFolio folio;
    folio.pfn = add_folio(file, index, order), folio.order = order;
    folio.block_bits = uint32_t(get("inode", file.inode, "i_blkbits"));
    return folio;
  }
  void fill_buffer(const PrivateFolio& folio, uint64_t nth) {
    set_buffer(folio, nth, "b_state",
               types.bit("bh_state_bits", "BH_Uptodate") | types.bit("bh_state_bits", "BH_Mapped"));
    set_buffer(folio, nth, "b_this_page", folio.buffers[(nth + 1) % folio.blocks()]);
    set_buffer(folio, nth, back_pointer(), page_va(folio.pfn));
    set_buffer(folio, nth, "b_size", 1u << folio.block_bits);
    set_buffer(folio, nth, "b_data", kDirectMap + folio.pfn * kPage + (nth << folio.block_bits));
    set_buffer(folio, nth, "b_blocknr", 1000 + nth);
  }
};

}  // namespace pars::test
