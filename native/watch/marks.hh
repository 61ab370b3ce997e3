// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <utility>

struct file_handle;

namespace pars::watch {

/// The file systems that are watched, and directories in each: file handles are opened relative to one. A
/// directory leads to what its mount shows, which may be a part of the file system only.
class Marks {
 public:
  explicit Marks(int notify) : notify_(notify) {}
  ~Marks();
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;

  /// Watches the whole file system that `path` lies on. Empty when it is watched now; else why it is not.
  std::string add(const char* path);

  /// Another directory by which files may be reached; not watched for itself.
  void reach_by(const char* path);

  /// The path of the directory behind a handle that the kernel reported; empty when it cannot be reached from
  /// here.
  std::string directory_of(const void* fsid, file_handle* handle) const;

 private:
  using FileSystemId = std::pair<int, int>;

  int notify_;
  std::multimap<FileSystemId, int> directories_;
};

}  // namespace pars::watch
