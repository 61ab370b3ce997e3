// SPDX-License-Identifier: Apache-2.0
// pars-watch DIRECTORY...: tells of every libvirt save image that is finished on the file systems that hold
// the directories.
//
// Standard output, for each event: the id of the process that closed the file, a blank, the file's absolute
// path, a NUL. The first output is a NUL alone: from there on nothing is missed. An event that says only that
// events were lost is "0 " and NUL. What a file holds decides, not its name: it is told of when it begins
// with the magic of a finished save. The file is opened only for that look, and only when it is long enough
// to be one. Ends with its standard input. Exit code 0: standard input ended. 1: a directory cannot be
// watched; the reason is on standard error.
#include <fcntl.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "watch/marks.hh"

namespace {

constexpr std::string_view kMagic = "LibvirtQemudSave";
/// A shorter image cannot become a stub: its head alone is longer.
constexpr off_t kShortest = 4 << 20;
constexpr size_t kEventBytes = 64 << 10;

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(0);  // nobody listens any more
    text.remove_prefix(size_t(n));
  }
}

void tell(pid_t pid, const std::string& path) {
  std::string line = std::to_string(pid) + " " + path;
  line.push_back('\0');
  write_all(line);
}

bool is_long_regular_file(const struct stat& facts) {
  return S_ISREG(facts.st_mode) && facts.st_size >= kShortest;
}

/// Opening is the last question: it would ask back a lease that an offload may hold on the file.
bool is_finished_save(const std::string& path) {
  struct stat facts;
  if (lstat(path.c_str(), &facts) != 0 || !is_long_regular_file(facts)) return false;
  const int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return false;
  char begin[kMagic.size()];
  const bool looks_so = fstat(fd, &facts) == 0 && is_long_regular_file(facts) &&
                        pread(fd, begin, sizeof begin, 0) == ssize_t(sizeof begin) &&
                        std::string_view(begin, sizeof begin) == kMagic;
  close(fd);
  return looks_so;
}

/// The name that follows a directory's handle in an event; empty for an event without one.
std::string path_in(const fanotify_event_metadata& event, const pars::watch::Marks& marks) {
  const char* at = reinterpret_cast<const char*>(&event) + event.metadata_len;
  const char* end = reinterpret_cast<const char*>(&event) + event.event_len;
  while (size_t(end - at) >= sizeof(fanotify_event_info_fid)) {
    auto* info = reinterpret_cast<const fanotify_event_info_fid*>(at);
    if (info->hdr.len < sizeof *info || info->hdr.len > size_t(end - at)) return "";
    if (info->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME) {
      auto* handle = reinterpret_cast<file_handle*>(const_cast<unsigned char*>(info->handle));
      const std::string directory = marks.directory_of(&info->fsid, handle);
      const char* name = reinterpret_cast<const char*>(handle->f_handle) + handle->handle_bytes;
      if (directory.empty()) return "";
      return directory == "/" ? directory + name : directory + "/" + name;
    }
    at += info->hdr.len;
  }
  return "";
}

void take(const fanotify_event_metadata& event, const pars::watch::Marks& marks) {
  if (event.mask & FAN_Q_OVERFLOW) return tell(0, "");
  const std::string path = path_in(event, marks);
  if (!path.empty() && is_finished_save(path)) tell(event.pid, path);
}

bool read_events(int notify, const pars::watch::Marks& marks) {
  alignas(fanotify_event_metadata) static char buffer[kEventBytes];
  const ssize_t bytes = read(notify, buffer, sizeof buffer);
  if (bytes < 0) return errno == EINTR || errno == EAGAIN;
  auto* event = reinterpret_cast<const fanotify_event_metadata*>(buffer);
  for (ssize_t left = bytes; FAN_EVENT_OK(event, left); event = FAN_EVENT_NEXT(event, left)) {
    if (event->vers != FANOTIFY_METADATA_VERSION) return false;
    take(*event, marks);
  }
  return true;
}

bool has_ended(int fd) {
  char rest[256];
  return read(fd, rest, sizeof rest) <= 0;
}

int watch(int notify, const pars::watch::Marks& marks) {
  write_all(std::string_view("\0", 1));
  pollfd ready[2] = {{notify, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  for (;;) {
    if (poll(ready, 2, -1) < 0 && errno != EINTR) return 1;
    if (ready[0].revents && !read_events(notify, marks)) return 1;
    if (ready[1].revents && has_ended(STDIN_FILENO)) return 0;
  }
}

int fail(const char* what, const std::string& why) {
  std::fprintf(stderr, "cannot watch %s: %s\n", what, why.c_str());
  return 1;
}

}  // namespace

int main(int count, char** arguments) {
  const int notify = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_REPORT_DFID_NAME | FAN_UNLIMITED_QUEUE,
                                   O_RDONLY | O_LARGEFILE);
  if (notify < 0) return fail("for finished saves", std::strerror(errno));
  pars::watch::Marks marks(notify);
  marks.reach_by("/");
  for (int i = 1; i < count; ++i)
    if (const std::string why = marks.add(arguments[i]); !why.empty()) return fail(arguments[i], why);
  return watch(notify, marks);
}
