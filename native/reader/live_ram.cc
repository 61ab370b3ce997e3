// SPDX-License-Identifier: Apache-2.0
#include "reader/live_ram.hh"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "core/image/ram_walk.hh"
#include "reader/jail.hh"

namespace pars::reader {

namespace {

using nlohmann::json;

constexpr size_t kMaxBlocks = 64, kMaxVcpus = 4096;
constexpr uint64_t kBatch = 1 << 20;
// Memory is fetched in chunks, few enough that the kernel's limit on mappings of a process (65,530) is never
// met.
constexpr uint64_t kMinChunk = 64 << 10, kMaxChunks = 16384;

struct Stretch {
  uint64_t offset, bytes;  // in our mapping
  uint64_t address;        // in QEMU
};

/// What the fault handler needs. One guest a process.
struct Fetcher {
  uint8_t* base = nullptr;
  uint64_t bytes = 0, chunk = 0;
  Stretch stretches[kMaxBlocks];
  size_t count = 0;
};
Fetcher fetcher;

[[noreturn]] void give_up(const char* why, size_t length) {
  if (write(2, why, length) < 0) _exit(6);
  _exit(5);
}

bool read_guest(uint8_t* to, uint64_t bytes, uint64_t address) {
  while (bytes > 0) {
    const ssize_t n = pread(kImageFd, to, bytes, static_cast<off_t>(address));
    if (n <= 0) return false;
    to += n, bytes -= n, address += n;
  }
  return true;
}

/// Fetches the chunk around a first touch. Everything it calls may be called from a signal handler.
void on_fault(int, siginfo_t* info, void*) {
  const auto at = reinterpret_cast<uintptr_t>(info->si_addr),
             base = reinterpret_cast<uintptr_t>(fetcher.base);
  static const char stray[] = "pars-reader: it read where there is no guest memory\n";
  static const char gone[] = "pars-reader: the guest ended while it was read\n";
  if (at < base || at - base >= fetcher.bytes) give_up(stray, sizeof stray - 1);
  const uint64_t start = (at - base) / fetcher.chunk * fetcher.chunk;
  for (size_t i = 0; i < fetcher.count; i++) {
    const Stretch& s = fetcher.stretches[i];
    if (start < s.offset || start - s.offset >= s.bytes) continue;
    const uint64_t bytes = std::min(fetcher.chunk, s.bytes - (start - s.offset));
    if (mprotect(fetcher.base + start, fetcher.chunk, PROT_READ | PROT_WRITE) != 0)
      give_up(stray, sizeof stray - 1);
    if (!read_guest(fetcher.base + start, bytes, s.address + (start - s.offset)))
      give_up(gone, sizeof gone - 1);
    return;
  }
  give_up(stray, sizeof stray - 1);
}

uint64_t hex(const json& from, const char* key) {
  const json value = from.value(key, json());
  return value.is_string() ? std::strtoull(value.get<std::string>().c_str(), nullptr, 16) : 0;
}

Error bad_request(const char* what) { return {ErrorCode::bad_text, 0, what}; }

/// Lays the blocks out behind each other, each from a chunk's boundary on; nothing lies at offset 0, which
/// means a zero page.
Status lay_out(const json& blocks, MigrationStream& stream) {
  if (!blocks.is_array() || blocks.empty() || blocks.size() > kMaxBlocks)
    return bad_request("the guest has no RAM blocks, or too many");
  uint64_t total = 0;
  for (const json& block : blocks)
    total += block.is_object() ? std::min(hex(block, "bytes"), kMaxRamBytes) : 0;
  if (total == 0 || total > kMaxRamBytes) return bad_request("the guest's RAM has an impossible size");
  fetcher.chunk = std::max(kMinChunk, std::bit_ceil(total / kMaxChunks));
  uint64_t offset = fetcher.chunk;
  for (const json& block : blocks) {
    const uint64_t bytes = hex(block, "bytes"), address = hex(block, "address");
    if (bytes == 0 || bytes % kPageSize || address % kPageSize || address + bytes < address)
      return bad_request("a RAM block is not made of pages");
    fetcher.stretches[fetcher.count++] = {offset, bytes, address};
    RamBlock out{block.value("name", json()).is_string() ? block["name"].get<std::string>() : "", bytes, {}};
    if (!out.pages.reset(bytes / kPageSize)) return bad_request("there is no memory for the page index");
    stream.blocks.push_back(std::move(out));
    offset += (bytes + fetcher.chunk - 1) / fetcher.chunk * fetcher.chunk;
  }
  fetcher.bytes = offset;
  return Done{};
}

Status reserve() {
  void* map = mmap(nullptr, fetcher.bytes, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED)
    return Error{ErrorCode::io, 0, "there is no room for the guest's memory in the address space"};
  fetcher.base = static_cast<uint8_t*>(map);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
  return Done{};
}

/// Zero pages, repeated words, and where a VMCOREINFO may be: in one pass through a small buffer, so that
/// nothing of it stays.
Status scan(MigrationStream& stream) {
  std::vector<uint8_t> buffer(kBatch);
  stream.fills.reset(fetcher.bytes);
  for (size_t b = 0; b < stream.blocks.size(); b++) {
    const Stretch& s = fetcher.stretches[b];
    for (uint64_t done = 0; done < s.bytes; done += kBatch) {
      const uint64_t bytes = std::min(kBatch, s.bytes - done);
      if (!read_guest(buffer.data(), bytes, s.address + done))
        return Error{ErrorCode::io, s.address + done, "the guest's memory cannot be read: has it ended?"};
      for (uint64_t p = 0; p < bytes; p += kPageSize) {
        const uint8_t* page = buffer.data() + p;
        const bool fill = is_fill(page);
        if (fill && load_le<uint64_t>(page) == 0) continue;
        const PageLocation at = s.offset + done + p;
        stream.blocks[b].pages[(done + p) / kPageSize] = at;
        if (fill) stream.fills.note(at);
        if (stream::begins_vmcoreinfo(page) && stream.vmcoreinfo.size() < kMaxVmcoreinfo)
          stream.vmcoreinfo.push_back(at);
      }
    }
  }
  return Done{};
}

}  // namespace

Result<LiveGuest> open_live_guest(const json& request) {
  const json xml = request.value("xml", json()), vcpus = request.value("vcpus", json::array());
  if (!xml.is_string() || !vcpus.is_array() || vcpus.size() > kMaxVcpus)
    return bad_request("the request names no guest");
  auto domain = parse_domain_xml(xml.get<std::string>());
  if (!domain) return domain.error();
  LiveGuest guest{*domain, {}, {}, {}};
  if (Status done = lay_out(request.value("blocks", json()), guest.stream); !done) return done.error();
  if (Status done = reserve(); !done) return done.error();
  if (Status done = scan(guest.stream); !done) return done.error();
  for (const json& vcpu : vcpus)
    if (vcpu.is_object())
      guest.vcpus.push_back({static_cast<uint32_t>(guest.vcpus.size()), hex(vcpu, "cr0"), hex(vcpu, "cr3"),
                             hex(vcpu, "cr4"), 0});
  guest.memory = {fetcher.base, static_cast<size_t>(fetcher.bytes)};
  return guest;
}

}  // namespace pars::reader
