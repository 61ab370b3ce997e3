// SPDX-License-Identifier: Apache-2.0
#include "core/pages/cached_file.hh"

namespace pars {

namespace {

constexpr uint64_t kMaxName = 256;  // NAME_MAX and a NUL
constexpr int kMaxPathDepth = 64;   // of directories; a cycle ends here
constexpr size_t kMaxPath = 1024;
constexpr uint64_t kMaxType = 32;  // also of s_id

std::string text_at(const KernelMemory& memory, uint64_t va, uint64_t limit) {
  return memory.text(va, limit).value_or("");
}

/// From the file's dentry up to the root of its file system.
std::string path_of(const KernelMemory& memory, const NameLayout& names, uint64_t inode) {
  const uint64_t alias = memory.u64(inode + names.inode_dentries).value_or(0);
  if (alias == 0) return "";
  std::string path;
  uint64_t dentry = alias - names.dentry_alias;
  for (int depth = 0; depth < kMaxPathDepth && path.size() < kMaxPath; depth++) {
    const uint64_t parent = memory.u64(dentry + names.dentry_parent).value_or(0);
    if (parent == dentry) return path;
    auto name_at = memory.u64(dentry + names.dentry_name);
    auto name = name_at ? memory.text(*name_at, kMaxName) : std::nullopt;
    if (parent == 0 || !name || name->empty()) return "";
    path = "/" + *name + path;
    dentry = parent;
  }
  return "";
}

}  // namespace

std::optional<NameLayout> resolve_names(const Btf& btf) {
  bool whole = true;
  const auto at = [&](const char* type, const char* path) {
    auto m = btf.member(type, path);
    whole = whole && m;
    return m ? m->offset : 0u;
  };
  const char* alias =
      btf.member("dentry", "d_u.d_alias") ? "d_u.d_alias" : "d_alias";  // in an anonymous union since 7.2
  const NameLayout n{at("inode", "i_ino"),      at("inode", "i_size"),      at("inode", "i_dentry.first"),
                     at("dentry", alias),       at("dentry", "d_parent"),   at("dentry", "d_name.name"),
                     at("super_block", "s_id"), at("super_block", "s_root")};
  return whole ? std::optional(n) : std::nullopt;
}

CachedFileFacts describe_file(const KernelMemory& memory, const KernelLayout& layout, uint64_t mapping) {
  CachedFileFacts file;
  if (!layout.cache) return file;
  const CacheLayout& c = *layout.cache;
  const uint64_t inode = memory.u64(mapping + c.mapping_host).value_or(0);
  if (inode == 0) return file;
  file.mode = memory.u16(inode + c.inode_mode).value_or(0);
  const uint64_t sb = memory.u64(inode + c.inode_sb).value_or(0);
  const uint64_t type = sb ? memory.u64(sb + c.sb_type).value_or(0) : 0;
  const uint64_t type_name = type ? memory.u64(type + c.fs_name).value_or(0) : 0;
  if (type_name) file.file_system = text_at(memory, type_name, kMaxType);
  if (!layout.names) return file;
  file.inode = memory.u64(inode + layout.names->inode_number).value_or(0);
  file.bytes = memory.u64(inode + layout.names->inode_bytes).value_or(0);
  if (sb) file.super_block = text_at(memory, sb + layout.names->sb_id, kMaxType);
  file.path = path_of(memory, *layout.names, inode);
  return file;
}

}  // namespace pars
