// SPDX-License-Identifier: Apache-2.0
// A guest whose btrfs is a module, with BTF of its own that the kernel shows in /sys/kernel/btf.
#pragma once
#include "guest/private.hh"

namespace pars::test {

class ModuleGuest : public PrivateGuest {
 public:
  explicit ModuleGuest(const KernelTypes& all)
      : PrivateGuest(all),
        kernel_types_(all),
        kernel_writer_(without_btrfs(kernel_types_)),
        module_writer_(module_types(), kernel_writer_) {
    write(kernel_btf_va(), kernel_writer_.blob());
    file = make_private_file("btrfs", 12);
    set("file_system_type", get("super_block", file.super_block, "s_type"), "owner", add_module("btrfs"));
  }

  File file;  ///< on the btrfs
  uint64_t module = 0, btf = 0, base = 0, attribute = 0, blob = 0;
  uint64_t sys = 0, sys_module = 0, sys_kernel = 0, sys_btf = 0, own_node = 0, shown_node = 0;

  uint64_t kernel_btf_va() const { return image_va(btf_frame) + 8; }
  void rename(uint64_t node, const char* name) { set("kernfs_node", node, "name", text(name)); }
  /// An entry of a directory, where the tree that holds them has room.
  uint64_t add_node(uint64_t directory, const std::string& name) {
    const uint64_t node = make("kernfs_node");
    set("kernfs_node", node, "name", text(name)), set("kernfs_node", node, parent_field(), directory);
    if (directory == 0) return node;
    uint64_t at = children_of(directory);
    for (uint64_t depth = 0; word(at) != 0; depth++)
      at = word(at) + types.offset("rb_node", depth % 2 == name.size() % 2 ? "rb_left" : "rb_right");
    set_word(at, link_of_node(node));
    return node;
  }
  uint64_t link_of_node(uint64_t node) const { return node + types.offset("kernfs_node", "rb"); }
  uint64_t children_of(uint64_t directory) const {
    return directory + types.offset("kernfs_node", "dir") + types.offset("kernfs_elem_dir", "children");
  }
  std::string parent_field() const { return types.has("kernfs_node", "parent") ? "parent" : "__parent"; }
  void set_module_kobject(const char* name, uint64_t value) {
    set("module_kobject", module + types.offset("module", "mkobj"), name, value);
  }
  void set_attribute_name(uint64_t va) { set("attribute", attribute, "name", va); }
  void write(uint64_t va, const std::vector<uint8_t>& bytes) {
    memory.write(gpa(va), bytes.data(), bytes.size());
  }

 private:
  static constexpr const char* kOwn[] = {"btrfs_inode", "btrfs_root", "btrfs_key", "btrfs_folio_state",
                                         "extent_io_tree"};

  static const KernelTypes& without_btrfs(KernelTypes& all) {
    for (const char* name : kOwn) all.structs.erase(name);
    all.enums.erase("");
    return all;
  }
  const KernelTypes& module_types() {
    for (const char* name : kOwn)
      if (types.structs.contains(name)) module_types_.structs[name] = types.structs.at(name);
    if (types.enums.contains("")) module_types_.enums[""] = types.enums.at("");
    return module_types_;
  }

  uint64_t add_module(const std::string& name) {
    sys = add_node(0, ""), sys_module = add_node(sys, "module"), sys_kernel = add_node(sys, "kernel"),
    add_node(sys, "fs"), add_node(sys, "bus");
    sys_btf = add_node(sys_kernel, "btf");
    for (const char* other : {"ext4", "xfs", "crc32c_generic", "jbd2"})
      add_node(sys_module, other), add_node(sys_btf, other);
    own_node = add_node(sys_module, name), shown_node = add_node(sys_btf, name);
    module = make("module");
    memory.write(gpa(module) + types.offset("module", "name"), name.data(), name.size());
    set_module_kobject("mod", module);
    set("kobject", module + types.offset("module", "mkobj"), "sd", own_node);
    add_btf(name);
    attribute = make("bin_attribute");
    set_attribute_name(btf + types.offset("btf", "name"));
    set("bin_attribute", attribute, "size", module_writer_.blob(0).size());
    set("kernfs_node", shown_node, "priv", attribute);
    return module;
  }
  void add_btf(const std::string& name) {
    base = make("btf"), btf = make("btf");
    set("btf", base, "data", kernel_btf_va()), set("btf", base, "nr_types", kernel_writer_.type_count());
    const std::vector<uint8_t> bytes = module_writer_.blob(0);
    blob = allocate(bytes.size());
    write(blob, bytes);
    set("btf", btf, "data", blob), set("btf", btf, "data_size", bytes.size()),
        set("btf", btf, "base_btf", base), set("btf", btf, "kernel_btf", 1);
    set("btf", btf, "start_id", kernel_writer_.type_count()),
        set("btf", btf, "start_str_off", kernel_writer_.name_bytes());
    memory.write(gpa(btf) + types.offset("btf", "name"), name.data(), name.size());
  }

  KernelTypes kernel_types_, module_types_;
  BtfWriter kernel_writer_, module_writer_;
};

}  // namespace pars::test
