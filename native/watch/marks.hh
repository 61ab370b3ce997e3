// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <utility>

struct file_handle;

namespace pars::watch {

/// The file systems that are watched, and a directory in each: file handles are opened relative to one.
class Marks {
 public:
  explicit Marks(int notify) : notify_(notify) {}
  ~Marks();
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;

  /// Watches the whole file system that `path` lies on. Empty when it is watched now; else why it is not.
  std::string add(const char* path);

  /// The path of the directory behind a handle that the kernel reported; empty when it cannot be reached from
  /// here.
  std::string directory_of(const void* fsid, file_handle* handle) const;

 private:
  using FileSystemId = std::pair<int, int>;

  int notify_;
  std::map<FileSystemId, int> directories_;
};

}  // namespace pars::watch
