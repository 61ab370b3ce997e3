// SPDX-License-Identifier: Apache-2.0
#include "watch/marks.hh"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

namespace pars::watch {

namespace {

std::pair<int, int> id_of(const void* fsid) {
  int words[2];
  std::memcpy(words, fsid, sizeof words);
  return {words[0], words[1]};
}

/// What the kernel calls an open descriptor; empty unless that name leads back to the same directory.
std::string name_of(int fd) {
  char target[PATH_MAX];
  const ssize_t bytes = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target);
  if (bytes <= 0 || bytes == sizeof target) return "";
  const std::string name(target, size_t(bytes));
  struct stat by_name, by_descriptor;
  if (stat(name.c_str(), &by_name) != 0 || fstat(fd, &by_descriptor) != 0) return "";
  const bool same = by_name.st_dev == by_descriptor.st_dev && by_name.st_ino == by_descriptor.st_ino;
  return same ? name : "";
}

}  // namespace

Marks::~Marks() {
  for (const auto& [id, fd] : directories_) close(fd);
}

std::string Marks::add(const char* path) {
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return std::strerror(errno);
  std::string why;
  if (fanotify_mark(notify_, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_CLOSE_WRITE, fd, nullptr) != 0)
    why = std::strerror(errno);
  close(fd);
  if (why.empty()) reach_by(path);
  return why;
}

void Marks::reach_by(const char* path) {
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct statfs facts;
  if (fd >= 0 && fstatfs(fd, &facts) == 0) directories_.emplace(id_of(&facts.f_fsid), fd);
  else if (fd >= 0) close(fd);
}

std::string Marks::directory_of(const void* fsid, file_handle* handle) const {
  const auto [first, last] = directories_.equal_range(id_of(fsid));
  for (auto one = first; one != last; ++one) {
    const int fd = open_by_handle_at(one->second, handle, O_PATH | O_CLOEXEC);
    if (fd < 0) continue;
    std::string name = name_of(fd);
    close(fd);
    if (!name.empty()) return name;
  }
  return "";
}

}  // namespace pars::watch
