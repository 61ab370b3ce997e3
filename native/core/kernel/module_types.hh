// SPDX-License-Identifier: Apache-2.0
// The types of a module: its own BTF, which continues the kernel's (R3). No symbol leads to it and the kernel
// keeps it in ordinary memory, but shows it as /sys/kernel/btf/MODULE: so it is found as the kernel itself
// finds that file, in the tree behind /sys, which begins at the module that owns a file system. Nothing on
// the way is searched for; every step is a pointer of the kernel's. Source: Linux kernel/bpf/btf.c
// (btf_module_notify, btf_parse_module), include/linux/kernfs.h.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/kernel/btf.hh"
#include "core/kernel/kernel_memory.hh"

namespace pars {

/// The kernel's own BTF, and where in its image it stands.
struct KernelBtf {
  std::shared_ptr<const Btf> types;
  uint64_t va = 0;
};

struct ModuleTypesLayout {
  uint32_t module_name, module_self, module_node;  ///< module.name, mkobj.mod, mkobj.kobj.sd
  uint32_t name, parent, priv, link, children;     ///< kernfs_node
  uint32_t left, right;                            ///< rb_node
  uint32_t attribute_name, attribute_bytes;        ///< bin_attribute
  uint32_t data, data_bytes, base, first_type, first_name, type_count, btf_name, of_kernel;  ///< btf
};

class ModuleTypes {
 public:
  ModuleTypes(const KernelMemory& memory, KernelBtf kernel);

  /// The BTF that has a file system's own structures: its module's, or the kernel's when it is built in;
  /// nullptr when none is proven.
  const Btf* of(uint64_t file_system_type);
  /// The same of a driver, by where its `owner` stands.
  const Btf* owned_by(uint64_t owner);

 private:
  std::optional<Btf> read(uint64_t module) const;
  std::optional<uint64_t> shown(uint64_t module, const std::string& name) const;
  std::optional<uint64_t> child(uint64_t directory, std::string_view name) const;
  bool continues_kernel(uint64_t btf, const std::string& name) const;
  std::optional<Btf> load(uint64_t btf) const;
  bool is_named(uint64_t node, std::string_view name) const;

  const KernelMemory& memory_;
  KernelBtf kernel_;
  std::optional<uint32_t> owner_;            // file_system_type.owner
  std::optional<ModuleTypesLayout> layout_;  // nothing when this kernel's BTF lacks any of it
  std::unordered_map<uint64_t, std::optional<Btf>> modules_;
};

}  // namespace pars
