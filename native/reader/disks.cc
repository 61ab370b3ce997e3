// SPDX-License-Identifier: Apache-2.0
#include "reader/disks.hh"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>

#include "core/frames/recovery_frame.hh"
#include "core/frames/stripe.hh"
#include "reader/channel.hh"
#include "reader/jail.hh"

namespace pars::reader {

namespace {

constexpr uint64_t kAlignment = 4096;
constexpr uint64_t kMaxGap = 64 << 10;  // read through rather than skipped
constexpr size_t kSamples = 64;         // pages that tell which disk a device is
// Storing is faster than this on any host: a disk that is slower is not worth waiting for.
constexpr double kSecondsBase = 2, kBytesASecond = 100e6;

uint64_t align_down(uint64_t offset) { return offset & ~(kAlignment - 1); }
uint64_t align_up(uint64_t offset) { return align_down(offset + kAlignment - 1); }

/// False when the disk ends before `needed` bytes, or does not answer.
bool read_at(int fd, uint8_t* to, uint64_t bytes, uint64_t needed, uint64_t offset) {
  uint64_t done = 0;
  while (done < needed) {
    const ssize_t n = pread(fd, to + done, bytes - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<uint64_t>(n);
    if (done < needed && done % kAlignment)
      return false;  // a read past the page cache cannot go on from there
  }
  return true;
}

using Pages = std::span<const PlacedPage>;

class Comparer {
 public:
  Comparer(Bytes image, const Inspection& inspection, Disks& disks, Comparison& out)
      : image_(image),
        inspection_(inspection),
        disks_(disks),
        out_(out),
        began_(std::chrono::steady_clock::now()) {}

  void device(Pages pages) {
    const auto disk = disk_of(pages);
    if (!disk) return;
    for (size_t first = 0; first < pages.size() && !out_.out_of_time;) {
      size_t end = first + 1;
      while (end < pages.size() && belongs(pages, first, end)) end++;
      compare(*disk, pages.subspan(first, end - first));
      first = end;
    }
  }

 private:
  /// The disk on which most of some of the pages are found; none when that is not a single one.
  std::optional<size_t> disk_of(Pages pages) {
    std::vector<uint64_t> votes(disks_.count(), 0);
    const size_t step = std::max<size_t>(1, pages.size() / kSamples);
    for (size_t i = 0; i < pages.size(); i += step)
      for (size_t disk = 0; disk < disks_.count(); disk++) votes[disk] += is_at(disk, pages[i]);
    const auto most = std::max_element(votes.begin(), votes.end());
    return most == votes.end() || *most == 0 ? std::nullopt : std::optional<size_t>(most - votes.begin());
  }
  bool is_at(size_t disk, const PlacedPage& page) {
    const uint8_t* there = disks_.window(disk, page.offset, kPageSize);
    return there && std::memcmp(there, bytes_of(page), kPageSize) == 0;
  }

  /// One read may serve all of them.
  static bool belongs(Pages pages, size_t first, size_t next) {
    return pages[next].offset - pages[next - 1].offset <= kPageSize + kMaxGap &&
           pages[next].offset + kPageSize - pages[first].offset <= Disks::kMaxWindow - 2 * kAlignment;
  }

  void compare(size_t disk, Pages pages) {
    spend(pages.back().offset + kPageSize - pages.front().offset);
    const uint64_t from = pages.front().offset;
    const uint8_t* there = disks_.window(disk, from, pages.back().offset + kPageSize - from);
    if (!there) return by_halves(disk, pages);
    for (const PlacedPage& page : pages)
      if (std::memcmp(there + (page.offset - from), bytes_of(page), kPageSize) == 0) take(disk, page);
  }
  /// The last pages of a wrong guess may lie past the disk's end; and not all of a mapped disk is in its
  /// files.
  void by_halves(size_t disk, Pages pages) {
    if (pages.size() == 1) return;
    compare(disk, pages.first(pages.size() / 2));
    compare(disk, pages.subspan(pages.size() / 2));
  }

  void take(size_t disk, const PlacedPage& page) {
    out_.references.push_back({page.payload, {page.offset, disks_.number(disk)}});
    out_.equal_pages[static_cast<size_t>(inspection_.classes[page.block][page.block_page])]++;
  }

  void spend(uint64_t bytes) {
    read_ += bytes;
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - began_;
    out_.out_of_time = taken.count() > kSecondsBase + static_cast<double>(read_) / kBytesASecond;
  }

  const uint8_t* bytes_of(const PlacedPage& page) const { return image_.data() + page.payload; }

  Bytes image_;
  const Inspection& inspection_;
  Disks& disks_;
  Comparison& out_;
  std::chrono::steady_clock::time_point began_;
  uint64_t read_ = 0;
};

/// Pages that may be referenced, if their disk agrees.
class Candidates {
 public:
  Candidates(Bytes image, uint64_t head_end, const Inspection& inspection)
      : image_(image),
        head_end_(head_end),
        inspection_(inspection),
        targets_(RecoveryIndex(inspection.recovery).targets()) {}

  bool has(const PlacedPage& page) const {
    return page.payload >= head_end_ && page.payload <= image_.size() - kPageSize &&
           page.block < inspection_.classes.size() &&
           page.block_page < inspection_.classes[page.block].size() && page.offset % kSectorBytes == 0 &&
           !is_target(page.payload) && !repeats_one_word(image_.data() + page.payload);
  }

 private:
  bool is_target(uint64_t payload) const {
    const auto target = std::lower_bound(targets_.begin(), targets_.end(), payload);
    return target != targets_.end() && *target < payload + kPageSize;
  }
  Bytes image_;
  uint64_t head_end_;
  const Inspection& inspection_;
  std::vector<uint64_t> targets_;
};

}  // namespace

std::optional<std::vector<GivenDisk>> given_disks(std::span<char* const> words) {
  std::vector<GivenDisk> disks;
  int fd = kFirstDiskFd;
  for (const char* word : words) {
    GivenDisk disk;
    const char* end = word + std::strlen(word);
    auto parsed = std::from_chars(word, end, disk.number);
    disk.mapped = parsed.ec == std::errc{} && parsed.ptr != end && *parsed.ptr == ':';
    if (disk.mapped) parsed = std::from_chars(parsed.ptr + 1, end, disk.files);
    const int left = kFirstDiskFd + kMaxDiskFiles - fd;
    if (parsed.ec != std::errc{} || parsed.ptr != end || disk.files < 1 || disk.files > left)
      return std::nullopt;
    disk.first_fd = fd, fd += disk.files;
    disks.push_back(std::move(disk));
  }
  return disks;
}

int files_of(const std::vector<GivenDisk>& disks) {
  int files = 0;
  for (const GivenDisk& disk : disks) files += disk.files;
  return files;
}

bool receive_tables(std::vector<GivenDisk>& disks) {
  for (GivenDisk& disk : disks) {
    if (!disk.mapped) continue;
    auto table = receive_bytes(Message::disk_map);
    if (!table || table->size() % DiskMap::kEntryBytes) return false;
    disk.table = std::move(*table);
  }
  return true;
}

Disks::Disks(std::vector<GivenDisk> given)
    : given_(std::move(given)),
      buffer_(given_.empty() ? nullptr : static_cast<uint8_t*>(std::aligned_alloc(kAlignment, kMaxWindow))) {}

const uint8_t* Disks::window(size_t disk, uint64_t offset, uint64_t bytes) {
  if (disk >= count() || !buffer_ || offset > kMaxDiskBytes || bytes > kMaxWindow) return nullptr;
  const uint64_t from = align_down(offset), needed = offset + bytes - from, until = align_up(offset + bytes);
  if (until - from > kMaxWindow) return nullptr;
  return read(given_[disk], from, needed, until - from) ? buffer_.get() + (offset - from) : nullptr;
}

/// Into the buffer. `needed`: a disk may end within its last page.
bool Disks::read(const GivenDisk& disk, uint64_t from, uint64_t needed, uint64_t whole) {
  const DiskMap map = disk.map();
  for (uint64_t done = 0; done < needed;) {
    const auto piece = map.at(from + done, whole - done);
    if (!piece || piece->file >= static_cast<uint64_t>(disk.files)) return false;
    const int fd = disk.first_fd + static_cast<int>(piece->file);
    const uint64_t due = std::min(piece->bytes, needed - done);
    if (!read_at(fd, buffer_.get() + done, piece->bytes, due, piece->offset)) return false;
    done += piece->bytes;
  }
  return true;
}

DiskAccess Disks::access() {
  return {count(), [this](size_t disk, uint64_t offset, std::span<uint8_t> out) {
            const uint8_t* bytes = window(disk, offset, out.size());
            if (bytes) std::copy_n(bytes, out.size(), out.begin());
            return bytes != nullptr;
          }};
}

Comparison compare_with_disks(Bytes image, uint64_t head_end, PlacedPages placed,
                              const Inspection& inspection, Disks& disks) {
  Comparison out;
  out.cached = placed.cached, out.placed = placed.pages.size();
  if (image.size() < kPageSize || disks.count() == 0) return out;
  const Candidates candidates(image, head_end, inspection);
  std::erase_if(placed.pages, [&](const PlacedPage& page) { return !candidates.has(page); });
  std::sort(placed.pages.begin(), placed.pages.end(), [](const PlacedPage& a, const PlacedPage& b) {
    return std::pair(a.device, a.offset) < std::pair(b.device, b.offset);
  });
  Comparer comparer(image, inspection, disks, out);
  for (auto first = placed.pages.begin(); first != placed.pages.end();) {
    const auto end = std::find_if(first, placed.pages.end(),
                                  [&](const PlacedPage& page) { return page.device != first->device; });
    comparer.device({first, end});
    first = end;
  }
  std::sort(out.references.begin(), out.references.end(),
            [](const auto& a, const auto& b) { return a.payload < b.payload; });
  return out;
}

}  // namespace pars::reader
