// SPDX-License-Identifier: Apache-2.0
// The file behind a page-cache mapping, for people: inode, size, file system, and its path where the dentry
// cache still has it.
#pragma once
#include <optional>
#include <string>

#include "core/kernel/kernel_layout.hh"
#include "core/kernel/kernel_memory.hh"

namespace pars {

struct CachedFileFacts {
  uint64_t inode = 0;  ///< 0: could not be read
  uint64_t bytes = 0;
  uint32_t mode = 0;
  std::string file_system;  ///< "ext4"; empty when it could not be read
  std::string super_block;  ///< its s_id: "vda1"
  std::string path;         ///< below the file system's root; empty when no dentry is cached
};

CachedFileFacts describe_file(const KernelMemory& memory, const KernelLayout& layout, uint64_t mapping);

}  // namespace pars
