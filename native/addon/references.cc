// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "addon/arguments.hh"
#include "addon/functions.hh"
#include "addon/work.hh"
#include "core/frames/disk_map.hh"
#include "core/frames/disk_reference.hh"
#include "core/frames/frame.hh"
#include "core/image/fill.hh"

namespace pars::addon {
namespace {

constexpr const char* kShape =
    "a table of references, its pages, and a list of disks, each {fds, map} or null";
constexpr size_t kMaxDisks = 1 << 16;

/// Of a disk: its files, and where in them its bytes lie. No files: it is not there.
struct DiskFiles {
  std::vector<int> fds;
  DiskMap map;
};

/// A run whose bytes are not on its disk any more.
struct LostRun {
  DiskRun run;
  bool unreadable;
};

/// Reads what a stripe's references stand for, in the order of the disks. What does not agree with its digest
/// comes back as zeros.
class ReadReferencesWork final : public Work {
 public:
  ReadReferencesWork(Napi::Env env, Bytes table, uint64_t pages, std::vector<DiskFiles> disks)
      : Work(env), table_(table), pages_(pages), disks_(std::move(disks)) {}

 private:
  std::optional<Failure> run() override {
    auto runs = decode_references(table_);
    if (!runs) return core_failure(runs.error());
    runs_ = std::move(*runs);
    std::vector<uint64_t> at(runs_.size());
    uint64_t pages = 0;
    for (size_t i = 0; i < runs_.size(); i++) at[i] = pages * kPageSize, pages += runs_[i].pages;
    if (pages != pages_)
      return Failure{"corrupt", "references to " + std::to_string(pages) + " pages, the index has " +
                                    std::to_string(pages_)};
    if (!out_.allocate(pages * kPageSize)) return Failure{"ENOMEM", "no memory for what the disks hold"};
    const std::vector<size_t> order = by_place();
    for (const size_t i : order) announce(runs_[i]);
    for (const size_t i : order) read_run(runs_[i], out_.span().subspan(at[i], runs_[i].pages * kPageSize));
    return std::nullopt;
  }

  std::vector<size_t> by_place() const {
    std::vector<size_t> order(runs_.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [this](size_t a, size_t b) {
      return std::pair(runs_[a].place.disk, runs_[a].place.offset) <
             std::pair(runs_[b].place.disk, runs_[b].place.offset);
    });
    return order;
  }

  /// Calls `visit` with descriptor, offset and length of each piece of a run, until it answers false. False
  /// when it does, or a piece lies nowhere.
  template <class Visit>
  bool each_piece(const DiskRun& run, Visit visit) const {
    if (run.place.disk >= disks_.size()) return false;
    const DiskFiles& disk = disks_[run.place.disk];
    const uint64_t bytes = run.pages * kPageSize;
    for (uint64_t done = 0; done < bytes;) {
      const auto piece = disk.map.at(run.place.offset + done, bytes - done);
      if (!piece || piece->file >= disk.fds.size()) return false;
      if (!visit(disk.fds[piece->file], piece->offset, piece->bytes)) return false;
      done += piece->bytes;
    }
    return true;
  }

  /// The kernel may begin to read all of them at once.
  void announce(const DiskRun& run) const {
    each_piece(run, [](int fd, uint64_t offset, uint64_t bytes) {
      return posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED) ==
             0;
    });
  }

  void read_run(const DiskRun& run, std::span<uint8_t> to) {
    uint64_t done = 0;
    const bool read = each_piece(run, [&](int fd, uint64_t offset, uint64_t bytes) {
      done += bytes;
      return read_all(fd, offset, to.subspan(done - bytes, bytes));
    });
    if (read && digest_of(to) == run.digest) return;
    std::fill(to.begin(), to.end(), 0);
    lost_.push_back({run, !read});
  }

  static bool read_all(int fd, uint64_t offset, std::span<uint8_t> to) {
    for (size_t done = 0; done < to.size();) {
      const ssize_t n = pread(fd, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      done += static_cast<size_t>(n);
    }
    return true;
  }

  Napi::Value answer(Napi::Env env) override {
    auto lost = Napi::Array::New(env, lost_.size());
    for (size_t i = 0; i < lost_.size(); i++) {
      auto entry = Napi::Object::New(env);
      const DiskRun& run = lost_[i].run;
      entry.Set("disk", Napi::Number::New(env, run.place.disk));
      entry.Set("offset", Napi::Number::New(env, static_cast<double>(run.place.offset)));
      entry.Set("pages", Napi::Number::New(env, run.pages));
      entry.Set("pageClass", Napi::Number::New(env, static_cast<uint8_t>(run.page_class)));
      entry.Set("unreadable", Napi::Boolean::New(env, lost_[i].unreadable));
      lost.Set(static_cast<uint32_t>(i), entry);
    }
    auto object = Napi::Object::New(env);
    object.Set("data", out_.release(env));
    object.Set("lost", lost);
    return object;
  }

  Bytes table_;
  uint64_t pages_;
  std::vector<DiskFiles> disks_;
  std::vector<DiskRun> runs_;
  std::vector<LostRun> lost_;
  OutputBytes out_;
};

/// One of the list; nullopt for another shape. The bytes of its map stay where they are.
std::optional<DiskFiles> disk_files(const Napi::Value& value) {
  DiskFiles disk;
  if (value.IsNull()) return disk;
  if (!value.IsObject()) return std::nullopt;
  const auto object = value.As<Napi::Object>();
  const Napi::Value fds = object.Get("fds"), map = object.Get("map");
  if (!fds.IsArray()) return std::nullopt;
  const auto list = fds.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value fd = list.Get(i);
    if (!fd.IsNumber()) return std::nullopt;
    disk.fds.push_back(fd.As<Napi::Number>().Int32Value());
  }
  if (map.IsNull()) return disk;
  const auto table = buffer(map);
  if (!table) return std::nullopt;
  disk.map = DiskMap(*table);
  return disk;
}

/// By their numbers.
std::optional<std::vector<DiskFiles>> all_disks(const Napi::Value& value) {
  if (!value.IsArray()) return std::nullopt;
  auto list = value.As<Napi::Array>();
  if (list.Length() > kMaxDisks) return std::nullopt;
  std::vector<DiskFiles> out;
  for (uint32_t i = 0; i < list.Length(); i++) {
    auto disk = disk_files(list.Get(i));
    if (!disk) return std::nullopt;
    out.push_back(std::move(*disk));
  }
  return out;
}

}  // namespace

Napi::Value read_references(const Napi::CallbackInfo& info) {
  auto table = buffer(info[0]);
  auto pages = whole_number(info[1]);
  auto disks = all_disks(info[2]);
  if (!table || !pages || *pages > kMaxFrameBytes / kPageSize || !disks)
    return throw_type(info.Env(), kShape);
  auto* work = new ReadReferencesWork(info.Env(), *table, *pages, std::move(*disks));
  work->keep(info[0]);
  work->keep(info[2]);
  return Work::start(work);
}

}  // namespace pars::addon
