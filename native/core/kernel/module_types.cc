// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/module_types.hh"

#include <vector>

namespace pars {

namespace {

constexpr uint64_t kModuleName = 64 - sizeof(uint64_t);  // MODULE_NAME_LEN
constexpr uint64_t kMaxNodeName = 256;                   // NAME_MAX + 1
constexpr int kMaxEntries = 1 << 14;                     // of one directory of /sys
constexpr size_t kMaxModules = 24;  // there are fewer proven file systems and drivers than that

std::optional<ModuleTypesLayout> resolve(const Btf& btf) {
  bool whole = true;
  const auto at = [&](const char* type, const char* path) {
    const auto m = btf.member(type, path);
    whole = whole && m.has_value();
    return m ? m->offset : 0;
  };
  const char* parent = btf.member("kernfs_node", "__parent") ? "__parent" : "parent";  // commit 633488947ef6
  ModuleTypesLayout l{};
  l.module_name = at("module", "name"), l.module_self = at("module", "mkobj.mod"),
  l.module_node = at("module", "mkobj.kobj.sd");
  l.name = at("kernfs_node", "name"), l.parent = at("kernfs_node", parent),
  l.priv = at("kernfs_node", "priv");
  l.link = at("kernfs_node", "rb"), l.children = at("kernfs_node", "dir.children.rb_node");
  l.left = at("rb_node", "rb_left"), l.right = at("rb_node", "rb_right");
  l.attribute_name = at("bin_attribute", "attr.name"), l.attribute_bytes = at("bin_attribute", "size");
  l.data = at("btf", "data"), l.data_bytes = at("btf", "data_size"), l.base = at("btf", "base_btf");
  l.first_type = at("btf", "start_id"), l.first_name = at("btf", "start_str_off"),
  l.type_count = at("btf", "nr_types");
  l.btf_name = at("btf", "name"), l.of_kernel = at("btf", "kernel_btf");
  return whole ? std::optional(l) : std::nullopt;
}

}  // namespace

ModuleTypes::ModuleTypes(const KernelMemory& memory, KernelBtf kernel)
    : memory_(memory), kernel_(std::move(kernel)), layout_(resolve(*kernel_.types)) {
  if (const auto owner = kernel_.types->member("file_system_type", "owner")) owner_ = owner->offset;
}

/// A file system that is built in has no owner, and needs nothing of what leads to a module: a kernel may be
/// built without any.
const Btf* ModuleTypes::of(uint64_t file_system_type) {
  return owner_ ? owned_by(file_system_type + *owner_) : nullptr;
}

const Btf* ModuleTypes::owned_by(uint64_t owner) {
  const auto module = memory_.u64(owner);
  if (!module) return nullptr;
  if (*module == 0) return kernel_.types.get();
  if (!layout_) return nullptr;
  if (!modules_.contains(*module) && modules_.size() == kMaxModules) return nullptr;
  auto [entry, fresh] = modules_.try_emplace(*module);
  if (fresh) entry->second = read(*module);
  return entry->second ? &*entry->second : nullptr;
}

std::optional<Btf> ModuleTypes::read(uint64_t module) const {
  const auto name = memory_.text(module + layout_->module_name, kModuleName);
  if (!name || name->empty() || memory_.u64(module + layout_->module_self) != module) return std::nullopt;
  const auto attribute = shown(module, *name);
  const auto name_at = attribute ? memory_.u64(*attribute + layout_->attribute_name) : std::nullopt;
  if (!name_at) return std::nullopt;
  const uint64_t btf = *name_at - layout_->btf_name;  // the attribute is named by the very bytes of btf.name
  if (!continues_kernel(btf, *name) ||
      memory_.u64(*attribute + layout_->attribute_bytes) != memory_.u32(btf + layout_->data_bytes))
    return std::nullopt;
  return load(btf);
}

/// The attribute behind /sys/kernel/btf/NAME, on the way from /sys/module/NAME.
std::optional<uint64_t> ModuleTypes::shown(uint64_t module, const std::string& name) const {
  const auto up = [&](std::optional<uint64_t> node) {
    return node ? memory_.u64(*node + layout_->parent) : std::nullopt;
  };
  const auto down = [&](std::optional<uint64_t> node, std::string_view to) {
    return node ? child(*node, to) : std::nullopt;
  };
  const auto own = memory_.u64(module + layout_->module_node), modules = up(own), root = up(modules);
  if (!root || !is_named(*own, name) || !is_named(*modules, "module") || up(root) != uint64_t{0})
    return std::nullopt;
  const auto file = down(down(down(root, "kernel"), "btf"), name);
  if (!file || up(up(up(file))) != root) return std::nullopt;
  return memory_.u64(*file + layout_->priv);
}

/// A directory's entries are a red-black tree, by a hash of their names: all are looked at.
std::optional<uint64_t> ModuleTypes::child(uint64_t directory, std::string_view name) const {
  std::vector<uint64_t> links = {memory_.u64(directory + layout_->children).value_or(0)};
  for (int steps = 0; !links.empty() && steps < kMaxEntries; steps++) {
    const uint64_t link = links.back();
    links.pop_back();
    if (link == 0) continue;
    if (is_named(link - layout_->link, name)) return link - layout_->link;
    for (uint32_t side : {layout_->left, layout_->right})
      links.push_back(memory_.u64(link + side).value_or(0));
  }
  return std::nullopt;
}

bool ModuleTypes::is_named(uint64_t node, std::string_view name) const {
  const auto at = memory_.u64(node + layout_->name);
  return at && memory_.text(*at, kMaxNodeName) == name;
}

/// It is the module's, and its base the very blob in the kernel's image: its ids go on where that one's end.
bool ModuleTypes::continues_kernel(uint64_t btf, const std::string& name) const {
  const auto base = memory_.u64(btf + layout_->base);
  if (!base || *base == 0 || memory_.text(btf + layout_->btf_name, kModuleName) != name ||
      memory_.u8(btf + layout_->of_kernel) != 1)
    return false;
  if (memory_.u64(*base + layout_->base) != uint64_t{0} || memory_.u64(*base + layout_->data) != kernel_.va)
    return false;
  const uint32_t types = kernel_.types->type_count();
  return memory_.u32(*base + layout_->type_count) == types &&
         memory_.u32(btf + layout_->first_type) == types &&
         memory_.u32(btf + layout_->first_name) == kernel_.types->name_bytes();
}

std::optional<Btf> ModuleTypes::load(uint64_t btf) const {
  const auto data = memory_.u64(btf + layout_->data);
  uint8_t header[kBtfHeaderBytes];
  if (!data || !memory_.read(*data, header, sizeof header)) return std::nullopt;
  const uint64_t bytes = Btf::blob_bytes({header, sizeof header});
  if (bytes == 0 || bytes != memory_.u32(btf + layout_->data_bytes)) return std::nullopt;
  std::vector<uint8_t> blob(bytes);
  if (!memory_.read(*data, blob.data(), bytes)) return std::nullopt;
  auto parsed = Btf::parse(std::move(blob), kernel_.types);
  return parsed ? std::optional(std::move(*parsed)) : std::nullopt;
}

}  // namespace pars
