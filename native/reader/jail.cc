// SPDX-License-Identifier: Apache-2.0
#include "reader/jail.hh"

#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <vector>

namespace pars::reader {

namespace {

// What systemd leaves unused (its UIDS-GIDS.md), so no account, service or file belongs to it, and with the
// process's number added no other reader either.
constexpr uid_t kFirstUid = 0x70000000;
// Where a container does not map that: the range of dynamic users, shared with them.
constexpr uid_t kFirstSharedUid = 61184, kSharedUids = 4336;
constexpr uint64_t kMaxThreads = 32;
constexpr uint64_t kDataBase = 8ull << 30;  // virtual; page indexes are reserved whole and touched lazily
// Processor time, of all threads together: far more than a look inside takes.
constexpr uint64_t kSecondsBase = 3600, kBytesASecond = 512 << 10, kSecondsToDie = 60;

bool close_others(int disk_files) {
  return syscall(SYS_close_range, static_cast<unsigned>(kFirstDiskFd + disk_files), ~0u, 0u) == 0 &&
         (close(1) == 0 || errno == EBADF);
}

bool limit(int resource, uint64_t value) {
  const rlimit bound{value, value};
  return setrlimit(static_cast<__rlimit_resource>(resource), &bound) == 0;
}

bool become(uid_t uid) { return setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0; }

/// Threads are counted by user, so they can be limited where the user is this process's alone.
bool drop_identity() {
  if (geteuid() != 0) return true;
  if (setgroups(0, nullptr) != 0) return false;
  if (become(kFirstUid + getpid())) return limit(RLIMIT_NPROC, kMaxThreads);
  return become(kFirstSharedUid + getpid() % kSharedUids);
}

/// Those that an ordinary user was given stay over the change of user that is not made.
bool drop_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
         syscall(SYS_capset, &header, none) == 0;
}

/// Where memory runs out this process goes, not a guest. No more than a favour: nothing depends on it.
void offer_memory() {
  const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t written = write(fd, "1000", 4);
  close(fd);
}

/// A backstop to the bounds of every loop. SIGXCPU ends the process, and SIGKILL one that has made itself
/// deaf to that; a limit that is stricter already stays.
bool limit_processor_time(uint64_t image_bytes) {
  rlimit bound{};
  if (getrlimit(RLIMIT_CPU, &bound) != 0) return false;
  const rlim_t seconds = kSecondsBase + image_bytes / kBytesASecond;
  bound = {std::min(bound.rlim_cur, seconds), std::min(bound.rlim_max, seconds + kSecondsToDie)};
  return setrlimit(RLIMIT_CPU, &bound) == 0;
}

/// BPF that allows what is listed and kills the process for anything else.
class Filter {
 public:
  Filter() {
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
    jump(AUDIT_ARCH_X86_64, 1, 0);
    add(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  }
  void allow(uint32_t number) {
    jump(number, 0, 1);
    add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  void answer(uint32_t number, uint32_t error) {
    jump(number, 0, 1);
    add(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
  }
  /// Allows a call whose low 32 bits of argument `index`, masked, equal `value`; kills it otherwise.
  void allow_if(uint32_t number, int index, uint32_t mask, uint32_t value) {
    jump(number, 0, 5);
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 8 * index);
    add(BPF_ALU | BPF_AND | BPF_K, mask);
    jump(value, 0, 1);
    add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    add(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  }
  /// mmap: nothing that is executable; shared memory, which no limit counts, of the image only.
  void allow_mappings() {
    jump(SYS_mmap, 0, 11);
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 8 * 2);
    add(BPF_ALU | BPF_AND | BPF_K, PROT_EXEC);
    jump(0, 0, 7);
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 8 * 3);
    add(BPF_ALU | BPF_AND | BPF_K, MAP_SHARED);
    jump(0, 3, 0);
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 8 * 4);
    jump(kImageFd, 1, 0);
    add(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    add(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  }
  bool install() {
    add(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    sock_fprog program{static_cast<unsigned short>(code_.size()), code_.data()};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
  }

 private:
  void add(uint16_t op, uint32_t k) { code_.push_back({op, 0, 0, k}); }
  void jump(uint32_t value, uint8_t yes, uint8_t no) {
    code_.push_back({BPF_JMP | BPF_JEQ | BPF_K, yes, no, value});
  }
  std::vector<sock_filter> code_;
};

bool filter_calls(bool live) {
  Filter filter;
  for (uint32_t number : {SYS_read,
                          SYS_write,
                          SYS_writev,
                          SYS_pread64,
                          SYS_munmap,
                          SYS_mremap,
                          SYS_madvise,
                          SYS_futex,
                          SYS_exit,
                          SYS_exit_group,
                          SYS_fstat,
                          SYS_lseek,
                          SYS_brk,
                          SYS_rt_sigaction,
                          SYS_rt_sigprocmask,
                          SYS_rt_sigreturn,
                          SYS_sigaltstack,
                          SYS_clock_gettime,
                          SYS_clock_nanosleep,
                          SYS_sched_yield,
                          SYS_sched_getaffinity,
                          SYS_getrandom,
                          SYS_rseq,
                          SYS_set_robust_list,
                          SYS_set_tid_address,
                          SYS_gettid,
                          SYS_getpid,
                          SYS_poll,
                          SYS_restart_syscall,
                          SYS_mincore})
    filter.allow(number);
  if (live) filter.allow_if(SYS_mmap, 2, PROT_EXEC, 0);
  else filter.allow_mappings();
  filter.allow_if(SYS_tgkill, 0, ~0u, static_cast<uint32_t>(getpid()));
  filter.allow_if(SYS_mprotect, 2, PROT_EXEC, 0);
  filter.allow_if(SYS_clone, 0, CLONE_THREAD, CLONE_THREAD);
  filter.answer(SYS_clone3, ENOSYS);  // its flags lie in memory a filter cannot see; glibc then uses clone
  filter.answer(SYS_newfstatat, EACCES);
  filter.answer(SYS_openat, EACCES);  // glibc asks /sys for processor counts and goes on without
  filter.answer(SYS_prlimit64, EPERM);
  return filter.install();
}

bool is_read_only(int fd, bool device_too) {
  struct stat st {};
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY || fstat(fd, &st) != 0) return false;
  return S_ISREG(st.st_mode) || (device_too && S_ISBLK(st.st_mode));
}

bool disks_are_read_only(int disk_files) {
  for (int i = 0; i < disk_files; i++)
    if (!is_read_only(kFirstDiskFd + i, true)) return false;
  return true;
}

}  // namespace

std::string enter_jail(uint64_t image_bytes, int disk_files, bool live) {
  if (!is_read_only(kImageFd, false)) return "descriptor 3 is not a regular file opened read-only";
  if (!disks_are_read_only(disk_files)) return "a disk is not a file or block device opened read-only";
  const pid_t parent = getppid();
  if (!close_others(disk_files)) return "descriptors cannot be closed";
  offer_memory();
  if (!drop_identity() || !drop_capabilities()) return "the user cannot be changed";
  // After the change of user, which clears it; then the parent must still be there.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) return "the parent is gone";
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0)
    return "privileges cannot be given up";
  if (!limit(RLIMIT_FSIZE, 0) || !limit(RLIMIT_CORE, 0) || !limit(RLIMIT_NOFILE, kFirstDiskFd + disk_files) ||
      !limit(RLIMIT_DATA, kDataBase + image_bytes / 16) || !limit_processor_time(image_bytes))
    return "limits cannot be set";
  return filter_calls(live) ? "" : "system calls cannot be filtered";
}

}  // namespace pars::reader
