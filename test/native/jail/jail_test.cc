// SPDX-License-Identifier: Apache-2.0
// jail-test ACTION: enters the reader's jail and then tries what it must not be able to do. Never shipped;
// test/unit/jail.test.ts watches from outside. Writes "in\n" to descriptor 4 when the jail is entered. Exit
// codes: 0 the action worked, 10 the system refused it, 11 the jail was not entered; death by SIGSYS is the
// jail's own answer.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>

#include "reader/jail.hh"

namespace {

using pars::reader::kAnswerFd;
using pars::reader::kImageFd;
using pars::reader::kRequestFd;

/// Each answers whether it got what it wanted.
const std::map<std::string, bool (*)()> kActions = {
    {"wait",
     [] {
       char byte;
       while (read(kRequestFd, &byte, 1) > 0) {
       }
       return true;
     }},
    {"spin",
     [] {
       for (volatile bool on = true; on;) {
       }
       return true;
     }},
    {"read-image",
     [] {
       char byte;
       return pread(kImageFd, &byte, 1, 0) == 1;
     }},
    {"thread",
     [] {
       bool ran = false;
       std::thread([&] { ran = true; }).join();
       return ran;
     }},
    {"allocate",
     [] {
       // Enough to make the allocator grow and shrink heaps of several threads.
       auto work = [] {
         for (int i = 0; i < 64; i++) std::free(std::memset(std::malloc(100000), 1, 100000));
       };
       std::thread one(work), two(work);
       one.join(), two.join();
       return true;
     }},
    {"map-image", [] { return mmap(nullptr, 1, PROT_READ, MAP_SHARED, kImageFd, 0) != MAP_FAILED; }},
    {"shared-memory",
     [] {
       return mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
     }},
    {"many-threads",
     [] {
       // Whether as many as it likes are to be had.
       pthread_t thread;
       for (int i = 0; i < 200; i++)
         if (pthread_create(
                 &thread, nullptr,
                 [](void*) -> void* {
                   for (;;) sched_yield();
                 },
                 nullptr) != 0)
           return false;
       return true;
     }},
    {"signal-itself", [] { return syscall(SYS_tgkill, getpid(), gettid(), 0) == 0; }},
    {"signal-another", [] { return syscall(SYS_tgkill, getppid(), getppid(), 0) == 0; }},
    {"open", [] { return open("/etc/passwd", O_RDONLY) >= 0; }},
    {"create", [] { return open("/tmp/jail-test-was-here", O_WRONLY | O_CREAT, 0600) >= 0; }},
    {"reopen-image", [] { return open("/proc/self/fd/3", O_RDWR) >= 0; }},
    {"write-image", [] { return write(kImageFd, "x", 1) == 1; }},
    {"stat",
     [] {
       struct stat st;
       return stat("/etc/passwd", &st) == 0;
     }},
    {"socket", [] { return socket(AF_UNIX, SOCK_STREAM, 0) >= 0; }},
    {"connect",
     [] {
       sockaddr_un address{AF_UNIX, "/run/libvirt/libvirt-sock"};
       return connect(kRequestFd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
     }},
    {"fork", [] { return fork() >= 0; }},
    {"exec",
     [] {
       execl("/bin/true", "true", nullptr);
       return false;
     }},
    {"executable-memory",
     [] {
       return mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
     }},
    {"make-executable",
     [] {
       void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
       return mprotect(memory, 4096, PROT_READ | PROT_EXEC) == 0;
     }},
    {"kill-parent", [] { return kill(getppid(), 0) == 0; }},
    {"trace-parent", [] { return ptrace(PTRACE_ATTACH, getppid(), nullptr, nullptr) == 0; }},
    {"root-again", [] { return setuid(0) == 0; }},
    {"duplicate", [] { return dup(kAnswerFd) >= 0; }},
    {"descriptor-5", [] { return write(5, "x", 1) == 1; }},
};

}  // namespace

int main(int count, char** arguments) {
  auto action = count == 2 ? kActions.find(arguments[1]) : kActions.end();
  struct stat image;
  if (action == kActions.end() || fstat(kImageFd, &image) != 0) return 2;
  std::string problem = pars::reader::enter_jail(static_cast<uint64_t>(image.st_size));
  if (!problem.empty()) {
    if (write(2, problem.data(), problem.size()) < 0) return 12;
    return 11;
  }
  if (write(kAnswerFd, "in\n", 3) != 3) return 12;
  _exit(action->second() ? 0 : 10);
}
