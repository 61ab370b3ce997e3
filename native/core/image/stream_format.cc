// SPDX-License-Identifier: Apache-2.0
#include "core/image/stream_format.hh"

#include <algorithm>
#include <cstdio>

#include "core/image/early_section.hh"
#include "core/image/mapped_ram.hh"

namespace pars::stream {
namespace {

constexpr uint32_t kStreamVersion = 3;
constexpr uint32_t kRamVersion = 4;
constexpr size_t kMaxBlocks = 1024;
constexpr uint32_t kMaxMachineName = 255;
constexpr uint32_t kMaxCapabilities = 64;
constexpr uint32_t kPageBits = 12;

bool printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; });
}

std::string quoted(std::string_view text) {
  return "\"" + (printable(text) ? std::string(text) : "...") + "\"";
}

/// Reads on through a cursor and remembers the first error only.
class Prologue {
 public:
  Prologue(Bytes image, uint64_t offset, MigrationStream& stream, PageLayout layout)
      : image_(image), cursor_(image, offset), stream_(stream), layout_(layout) {}

  Result<uint64_t> read() {
    const bool good = header() && configuration() && layout_is_expected() && ram_start() && blocks();
    if (good && cursor_.ok()) return cursor_.position();
    if (!cursor_.ok() && failure_.what.empty())
      return error(ErrorCode::truncated, cursor_.position(), "the stream ends before its first RAM record");
    return failure_;
  }

 private:
  bool fail(ErrorCode code, uint64_t offset, std::string what) {
    if (cursor_.ok() && failure_.what.empty()) failure_ = error(code, offset, std::move(what));
    return false;
  }

  uint8_t peek() const { return cursor_.remaining() ? image_[cursor_.position()] : uint8_t(kSectionEof); }

  bool header() {
    const uint64_t at = cursor_.position();
    if (cursor_.be32() != kStreamMagic)
      return fail(ErrorCode::bad_magic, at, "no QEMU stream: expected QEVM");
    stream_.version = cursor_.be32();
    if (stream_.version != kStreamVersion)
      return fail(ErrorCode::unsupported_version, at + 4,
                  "stream version " + std::to_string(stream_.version) + ", expected 3");
    return cursor_.ok();
  }

  // Machine types before 2.4 write none.
  bool configuration() {
    if (peek() != kConfiguration) return cursor_.ok();
    cursor_.skip(1);
    const uint64_t at = cursor_.position();
    const uint32_t length = cursor_.be32();
    if (length == 0 || length > kMaxMachineName)
      return fail(ErrorCode::bad_length, at, "machine name of " + std::to_string(length) + " bytes");
    const std::string_view name = cursor_.text(length);
    if (!printable(name)) return fail(ErrorCode::bad_text, at + 4, "machine name that is not plain text");
    stream_.machine = name;
    while (cursor_.ok() && peek() == kSubsection)
      if (!configuration_subsection()) return false;
    return cursor_.ok();
  }

  bool configuration_subsection() {
    const uint64_t at = cursor_.position();
    cursor_.skip(1);
    const std::string_view name = cursor_.text(cursor_.u8());
    const uint32_t version = cursor_.be32();
    if (!cursor_.ok()) return false;
    if (version != 1)
      return fail(ErrorCode::unsupported_version, at, quoted(name) + " version " + std::to_string(version));
    if (name == "configuration/capabilities") return capabilities();
    if (name == "configuration/target-page-bits") return page_bits();
    if (name == "configuration/uuid") return cursor_.skip(16), cursor_.ok();
    return fail(ErrorCode::unsupported_layout, at, "unknown configuration " + quoted(name));
  }

  bool page_bits() {
    const uint64_t at = cursor_.position();
    const uint32_t bits = cursor_.be32();
    return bits == kPageBits ||
           fail(ErrorCode::unsupported_layout, at, "guest pages of 2^" + std::to_string(bits) + " bytes");
  }

  // Only capabilities that change the stream's layout are written here, so each one present is one we cannot
  // read, but for mapped-ram where it is due.
  bool capabilities() {
    const uint64_t at = cursor_.position();
    const uint32_t count = cursor_.be32();
    if (count > kMaxCapabilities) return fail(ErrorCode::limit, at, std::to_string(count) + " capabilities");
    for (uint32_t i = 0; i < count; ++i) {
      const uint64_t where = cursor_.position();
      const std::string_view name = cursor_.text(cursor_.u8());
      if (name == "mapped-ram" && layout_ == PageLayout::mapped) stream_.mapped = true;
      else if (name == "x-ignore-shared" || name == "mapped-ram" || !printable(name))
        return fail(ErrorCode::unsupported_layout, where, "a stream with the capability " + quoted(name));
    }
    return cursor_.ok();
  }

  bool layout_is_expected() {
    if (layout_ == PageLayout::records || stream_.mapped) return cursor_.ok();
    return fail(ErrorCode::unsupported_layout, cursor_.position(),
                "a sparse image whose stream does not have the capability \"mapped-ram\"");
  }

  bool ram_start() {
    while (cursor_.ok() && (peek() == kCommand || begins_early_section(cursor_)))
      if (peek() == kCommand ? !command() : !early_section()) return false;
    const uint64_t at = cursor_.position();
    const uint8_t type = cursor_.u8();
    stream_.ram_section = cursor_.be32();
    const std::string_view name = cursor_.text(cursor_.u8());
    cursor_.skip(4);  // instance
    const uint32_t version = cursor_.be32();
    if (!cursor_.ok()) return false;
    if (type != kSectionStart || name != "ram")
      return fail(ErrorCode::unsupported_layout, at,
                  "section " + quoted(name) + " (type " + std::to_string(type) + ") before the RAM");
    if (version != kRamVersion)
      return fail(ErrorCode::unsupported_version, at,
                  "section ram version " + std::to_string(version) + ", expected 4");
    return true;
  }

  bool command();

  bool early_section() {
    const Result<EarlySection> crossed = cross_early_section(cursor_);
    if (!crossed) return fail(crossed.error().code, crossed.error().offset, crossed.error().what);
    note_early(stream_.early, {*crossed});
    return true;
  }

  bool blocks() {
    const uint64_t at = cursor_.position();
    const uint64_t word = cursor_.be64();
    if (!cursor_.ok()) return false;
    if ((word & kFlagMask) != kRamMemSize)
      return fail(ErrorCode::bad_flags, at, "RAM word " + hex(word) + ", expected the size of the memory");
    uint64_t left = word & ~kFlagMask;
    if (left == 0 || left > kMaxRamBytes ||
        left / kPageSize > kMaxUnsentPages + image_.size() / kZeroRecordBytes)
      return fail(
          ErrorCode::limit, at,
          "RAM of " + std::to_string(left) + " bytes in an image of " + std::to_string(image_.size()));
    dense_ = left / kDenseRam <= image_.size();
    while (left)
      if (!block(left)) return false;
    return true;
  }

  bool block(uint64_t& left) {
    const uint64_t at = cursor_.position();
    const std::string_view name = cursor_.text(cursor_.u8());
    const uint64_t where = cursor_.position();
    const uint64_t bytes = cursor_.be64();
    if (!cursor_.ok()) return false;
    if (name.empty() || !printable(name))
      return fail(ErrorCode::bad_text, at, "RAM block with a name that is not plain text");
    if (bytes == 0 || bytes % kPageSize || bytes > left)
      return fail(ErrorCode::bad_length, where,
                  "RAM block " + quoted(name) + " of " + std::to_string(bytes) + " bytes");
    if (stream_.blocks.size() == kMaxBlocks) return fail(ErrorCode::limit, at, "more than 1024 RAM blocks");
    for (const RamBlock& other : stream_.blocks)
      if (other.name == name) return fail(ErrorCode::bad_text, at, "two RAM blocks named " + quoted(name));
    stream_.blocks.push_back({std::string(name), bytes, {}});
    left -= bytes;
    if (!stream_.blocks.back().pages.reset(bytes / kPageSize, dense_))
      return fail(ErrorCode::io, at, "no address space for the pages of " + quoted(name));
    return !stream_.mapped || mapped_pages(stream_.blocks.back());
  }

  bool mapped_pages(RamBlock& block) {
    const Status placed = read_mapped_header(cursor_, image_.size(), block);
    return placed.ok() || fail(placed.error().code, placed.error().offset, placed.error().what);
  }

  Bytes image_;
  Cursor cursor_;
  MigrationStream& stream_;
  PageLayout layout_;
  bool dense_ = false;
  Error failure_{ErrorCode::truncated, 0, {}};
};

// Commands that leave the RAM alone: OPEN_RETURN_PATH, PING, SWITCHOVER_START (into files too, since machine
// types of QEMU 10).
bool harmless(uint16_t command) { return command == 1 || command == 2 || command == 11; }

Status skip_command(Cursor& cursor) {
  const uint64_t at = cursor.position();
  cursor.skip(1);
  const uint16_t command = cursor.be16();
  cursor.skip(cursor.be16());
  if (!cursor.ok()) return error(ErrorCode::truncated, at, "the stream ends inside a command");
  if (!harmless(command))
    return error(ErrorCode::unsupported_layout, at, "stream command " + std::to_string(command));
  return Done{};
}

bool Prologue::command() {
  const Status skipped = skip_command(cursor_);
  return skipped.ok() || fail(skipped.error().code, skipped.error().offset, skipped.error().what);
}

Status read_footer(Cursor& cursor, uint32_t section) {
  const uint64_t at = cursor.position();
  const uint8_t mark = cursor.u8();
  const uint32_t id = cursor.be32();
  if (!cursor.ok()) return error(ErrorCode::truncated, at, "the stream ends before a RAM section's footer");
  if (mark != kFooter || id != section)
    return error(ErrorCode::bad_magic, at,
                 "no footer of section " + std::to_string(section) + " behind its RAM records");
  return Done{};
}

/// A section other than RAM's, in the midst of the RAM: dirty bitmaps, vfio and the like, whose length
/// nothing tells.
Error foreign_section(Cursor cursor, uint8_t type, uint64_t at) {
  const uint32_t id = cursor.be32();
  if (!cursor.ok()) return error(ErrorCode::truncated, at, "the stream ends inside a section's header");
  const bool named = type == kSectionStart || type == kSectionFull;
  const std::string name = named ? " " + quoted(cursor.text(cursor.u8())) : "";
  return error(ErrorCode::unsupported_layout, at,
               "section " + std::to_string(id) + name + " before the end of the RAM");
}

Error no_section(uint8_t type, uint64_t at) {
  if (type == kSectionEof || type == kDescription)
    return error(ErrorCode::truncated, at, "the stream ends before the RAM's last section");
  return error(ErrorCode::bad_flags, at, "section type " + std::to_string(type));
}

/// Checks flags that name something other than a page, a zero page or the end of a section.
Error bad_record(uint64_t word, uint64_t at) {
  const uint32_t flags = word & kFlagMask;
  if (flags & (kRamXbzrle | kRamHook | kRamCompressed | kRamMultifdFlush) && flags < 0x400)
    return error(ErrorCode::unsupported_layout, at,
                 "RAM record " + hex(word) + " of a kind libvirt does not save");
  return error(ErrorCode::bad_flags, at, "RAM record " + hex(word) + " with flags no QEMU writes together");
}

Status name_block(Cursor& cursor, const std::vector<RamBlock>& blocks, BlockInForce& in_force) {
  const uint64_t at = cursor.position();
  const std::string_view name = cursor.text(cursor.u8());
  if (!cursor.ok()) return error(ErrorCode::truncated, at, "the image ends inside a RAM record");
  for (size_t i = 0; i < blocks.size(); ++i)
    if (blocks[i].name == name) return in_force = {uint32_t(i), blocks[i].bytes / kPageSize}, Done{};
  return error(ErrorCode::bad_text, at, "RAM record of an unknown block " + quoted(name));
}

Status check_body(Cursor cursor, const RamRecord& record, uint64_t at) {
  const uint8_t fill = record.kind == RamRecord::Kind::zero ? cursor.u8() : 0;
  if (record.kind == RamRecord::Kind::page) cursor.skip(kPageSize);
  if (!cursor.ok()) return error(ErrorCode::truncated, at, "the image ends inside a RAM record");
  if (fill) return error(ErrorCode::bad_flags, at, "a zero page's record with the fill byte " + hex(fill));
  return Done{};
}

}  // namespace

std::string hex(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

Result<uint64_t> read_prologue(Bytes image, uint64_t stream_offset, MigrationStream& stream,
                               PageLayout layout) {
  return Prologue(image, stream_offset, stream, layout).read();
}

Result<RamRecord> read_ram_record(Bytes image, uint64_t position, const std::vector<RamBlock>& blocks,
                                  BlockInForce in_force) {
  Cursor cursor(image, position);
  const uint64_t word = cursor.be64();
  if (!cursor.ok()) return error(ErrorCode::truncated, position, "the image ends among the RAM records");
  if (word == kRamEos) return RamRecord{};
  const uint32_t kind = word & kFlagMask & ~kRamContinue;
  if (kind != kRamPage && kind != kRamZero) return bad_record(word, position);
  if (word & kRamContinue) {
    if (in_force.block == kNoBlock)
      return error(ErrorCode::bad_flags, position, "the first RAM record names no block");
  } else if (Status named = name_block(cursor, blocks, in_force); !named) {
    return named.error();
  }
  RamRecord record{kind == kRamPage ? RamRecord::Kind::page : RamRecord::Kind::zero,
                   uint32_t(cursor.position() - position), in_force.block, word / kPageSize};
  if (record.page >= in_force.pages)
    return error(ErrorCode::bad_offset, position,
                 "RAM record " + hex(word) + " beyond its block of " + hex(in_force.pages) + " pages");
  if (Status body = check_body(cursor, record, position); !body) return body.error();
  return record;
}

Result<NextSection> cross_sections(Bytes image, uint64_t position, uint32_t ram_section, bool was_end) {
  Cursor cursor(image, position);
  if (Status footer = read_footer(cursor, ram_section); !footer) return footer.error();
  if (was_end) return NextSection{cursor.position(), false, true};
  std::vector<EarlySection> early;
  for (;;) {
    const uint64_t at = cursor.position();
    if (!cursor.remaining())
      return error(ErrorCode::truncated, at, "the image ends before the RAM's last section");
    const uint8_t type = image[at];
    if (type == kCommand) {
      if (Status skipped = skip_command(cursor); !skipped) return skipped.error();
      continue;
    }
    if (begins_early_section(cursor)) {
      const Result<EarlySection> crossed = cross_early_section(cursor);
      if (!crossed) return crossed.error();
      note_early(early, {*crossed});
      continue;
    }
    if (type < kSectionStart || type > kSectionFull) return no_section(type, at);
    cursor.skip(1);
    Cursor id = cursor;
    const bool continues = type == kSectionPart || type == kSectionEnd;
    if (!continues || id.be32() != ram_section || !id.ok()) return foreign_section(cursor, type, at);
    return NextSection{id.position(), type == kSectionEnd, false, std::move(early)};
  }
}

}  // namespace pars::stream
