// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cerrno>

#include "addon/arguments.hh"
#include "addon/functions.hh"
#include "addon/scratch.hh"
#include "addon/work.hh"
#include "core/frames/stripe_copy.hh"
#include "core/image/fill.hh"

namespace pars::addon {
namespace {

constexpr const char* kShape =
    "{fd, imageOffset, imageBytes, runs, references, recovery, diskRecovery, wanted: [kind], level, blocks: "
    "[{bitmapOffset, pagesOffset, bytes}], writable: [from, until], into}";
constexpr size_t kMaxBlocks = 4096;

/// False where the file ends before, or cannot be read.
bool read_at(int fd, uint64_t offset, std::span<uint8_t> into) {
  for (size_t done = 0; done < into.size();) {
    const ssize_t n = pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

struct Order {
  int fd = -1;
  StripePlan plan;
  bool hole = false;
  std::vector<MappedPlaces> blocks;
  std::vector<std::pair<uint8_t, Bytes>> recoveries;
  uint64_t writable_from = 0, writable_until = 0;
  FrameKinds wanted;
  int level = kMinLevel;
  std::span<uint8_t> into;
};

/// A context for each thread, kept: making one costs as much as a small frame.
Compressor& compressor_of(int level) {
  thread_local std::unique_ptr<Compressor> kept;
  thread_local int level_of_kept = 0;
  if (!kept || level_of_kept != level) kept = std::make_unique<Compressor>(level), level_of_kept = level;
  return *kept;
}

class PackWork final : public Work {
 public:
  PackWork(Napi::Env env, Order order) : Work(env), order_(std::move(order)) {}

 private:
  std::optional<Failure> run() override {
    image_.read = [this](uint64_t offset, std::span<uint8_t> into) {
      return read_at(order_.fd, offset, into);
    };
    image_.blocks = order_.blocks;
    const Status status = order_.hole ? hole() : stripe();
    if (!status) return core_failure(status.error());
    return std::nullopt;
  }

  Napi::Value answer(Napi::Env env) override {
    auto list = Napi::Array::New(env, packed_.size());
    for (uint32_t i = 0; i < packed_.size(); i++) {
      auto frame = Napi::Object::New(env);
      frame.Set("kind", packed_[i].kind);
      frame.Set("pages", packed_[i].pages);
      frame.Set("rawBytes", static_cast<double>(packed_[i].raw_bytes));
      frame.Set("bytes", static_cast<double>(packed_[i].bytes));
      list.Set(i, frame);
    }
    return list;
  }

  Status stripe() {
    auto frames = copy_stripe(order_.plan, image_, order_.wanted);
    if (!frames) return frames.error();
    for (const RawFrame& frame : *frames)
      if (auto status = pack(frame.kind, frame.pages, frame.bytes); !status) return status;
    for (const auto& [kind, bytes] : order_.recoveries) {
      if (auto status = check_recovery(bytes, order_.writable_from, order_.writable_until); !status)
        return status;
      if (auto status = pack(kind, 0, bytes); !status) return status;
    }
    return Done{};
  }

  Status pack(uint8_t kind, uint32_t pages, Bytes raw) {
    Packed packed{kind, pages, raw.size(), 0};
    if (order_.wanted[kind]) {
      auto size = compressor_of(order_.level).compress_into(raw, order_.into.subspan(used_));
      if (!size) return size.error();
      packed.bytes = *size;
      // What a guest cannot lose is unpacked once more, while the image is still there.
      if (!expendable_kind(kind)) {
        const std::span<uint8_t> room(scratch_.take(raw.size()), raw.size());
        if (auto status = unpacks_to(order_.into.subspan(used_, *size), raw, room); !status) return status;
      }
      used_ += *size;
    } else {
      packed.raw_bytes = uint64_t{pages} * kPageSize;
    }
    packed_.push_back(packed);
    return Done{};
  }

  /// What the file system holds no data for is zero; only the rest is looked at.
  Status hole() {
    const uint64_t begin = order_.plan.image_offset, end = begin + order_.plan.image_bytes;
    if (order_.plan.image_bytes % kPageSize) return corrupt(begin, "a hole that is not of whole pages");
    for (uint64_t at = begin; at < end;) {
      const off_t data = lseek(order_.fd, static_cast<off_t>(at), SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;
      uint64_t from = at, until = end;
      if (data >= 0) {
        if (static_cast<uint64_t>(data) >= end) break;
        const off_t next = lseek(order_.fd, data, SEEK_HOLE);
        const auto page = [&](uint64_t offset) {
          return at + (offset - at + kPageSize - 1) / kPageSize * kPageSize;
        };
        from = at + (static_cast<uint64_t>(data) - at) / kPageSize * kPageSize;
        if (next > data) until = std::min(end, page(static_cast<uint64_t>(next)));
      }
      if (auto status = check_zero_pages(from, until - from, image_); !status) return status;
      at = until;
    }
    return Done{};
  }

  struct Packed {
    uint8_t kind;
    uint32_t pages;
    uint64_t raw_bytes, bytes;
  };
  Order order_;
  ImageSource image_;
  Scratch scratch_;
  size_t used_ = 0;
  std::vector<Packed> packed_;
};

bool read_blocks(const Napi::Value& value, std::vector<MappedPlaces>& blocks) {
  if (!value.IsArray()) return false;
  auto list = value.As<Napi::Array>();
  if (list.Length() > kMaxBlocks) return false;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value entry = list.Get(i);
    if (!entry.IsObject()) return false;
    auto block = entry.As<Napi::Object>();
    auto bitmap = whole_number(block.Get("bitmapOffset")), pages = whole_number(block.Get("pagesOffset")),
         bytes = whole_number(block.Get("bytes"));
    if (!bitmap || !pages || !bytes) return false;
    blocks.push_back({*bitmap, *pages, *bytes});
  }
  return true;
}

/// False for a value that is neither null nor a Buffer.
bool read_table(const Napi::Value& value, std::optional<Bytes>& bytes) {
  bytes = buffer(value);
  return bytes.has_value() || value.IsNull();
}

bool read_tables(const Napi::Object& object, Order& order) {
  std::optional<Bytes> runs, references, recovery, disk_recovery;
  if (!read_table(object.Get("runs"), runs) || !read_table(object.Get("references"), references) ||
      !read_table(object.Get("recovery"), recovery) || !read_table(object.Get("diskRecovery"), disk_recovery))
    return false;
  order.hole = !runs;
  order.plan.runs = runs.value_or(Bytes{}), order.plan.references = references.value_or(Bytes{});
  if (recovery) order.recoveries.emplace_back(kRecoveryFrame, *recovery);
  if (disk_recovery) order.recoveries.emplace_back(kDiskRecoveryFrame, *disk_recovery);
  return true;
}

/// All that is no page class is critical, and wanted.
bool read_wanted(const Napi::Value& value, FrameKinds& wanted) {
  if (!value.IsArray()) return false;
  auto list = value.As<Napi::Array>();
  for (size_t kind = kPageClasses; kind < kFrameKinds; kind++) wanted.set(kind);
  for (uint32_t i = 0; i < list.Length(); i++) {
    auto kind = whole_number(list.Get(i));
    if (!kind || *kind >= kPageClasses) return false;
    wanted.set(*kind);
  }
  return true;
}

std::optional<Order> read_order(const Napi::Object& object) {
  Order order;
  auto fd = descriptor(object.Get("fd"));
  auto offset = whole_number(object.Get("imageOffset")), bytes = whole_number(object.Get("imageBytes")),
       level = whole_number(object.Get("level"));
  const Napi::Value writable = object.Get("writable"), into = object.Get("into");
  if (!fd || !offset || !bytes || !level || *level < kMinLevel || *level > kMaxLevel || !writable.IsArray() ||
      !into.IsBuffer() || !read_tables(object, order) || !read_wanted(object.Get("wanted"), order.wanted) ||
      !read_blocks(object.Get("blocks"), order.blocks))
    return std::nullopt;
  auto range = writable.As<Napi::Array>();
  auto from = whole_number(range.Get(0u)), until = whole_number(range.Get(1u));
  if (!from || !until) return std::nullopt;
  auto room = into.As<Napi::Buffer<uint8_t>>();
  order.fd = *fd, order.writable_from = *from, order.writable_until = *until;
  order.plan.image_offset = *offset, order.plan.image_bytes = *bytes;
  order.level = static_cast<int>(*level), order.into = {room.Data(), room.Length()};
  return order;
}

}  // namespace

Napi::Value pack_stripe(const Napi::CallbackInfo& info) {
  if (!info[0].IsObject()) return throw_type(info.Env(), kShape);
  auto object = info[0].As<Napi::Object>();
  auto order = read_order(object);
  if (!order) return throw_type(info.Env(), kShape);
  auto* work = new PackWork(info.Env(), std::move(*order));
  for (const char* name : {"runs", "references", "recovery", "diskRecovery", "into"})
    work->keep(object.Get(name));
  return Work::start(work);
}

}  // namespace pars::addon
