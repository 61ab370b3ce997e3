// SPDX-License-Identifier: Apache-2.0
#include "core/image/early_section.hh"

#include <bit>

namespace pars::stream {
namespace {

constexpr std::string_view kVirtioMem = "virtio-mem-device-early";
constexpr uint32_t kVersion = 1;
constexpr size_t kMaxEarly = 1024;
constexpr uint64_t kMinBlock = 1ull << 20;  // what virtio-mem plugs at once, at the least

struct Header {
  uint8_t type = 0;
  uint32_t id = 0;
  EarlySection section;
  uint32_t version = 0;
};

Header read_header(Cursor& cursor) {
  Header header;
  header.type = cursor.u8();
  header.id = cursor.be32();
  header.section.name = cursor.text(cursor.u8());
  header.section.instance = cursor.be32();
  header.version = cursor.be32();
  return header;
}

/// Address, length, block length and node of the region, bytes plugged, and a bit a block in words of 64.
Status skip_virtio_mem(Cursor& cursor) {
  cursor.skip(8);
  const uint64_t at = cursor.position();
  const uint64_t region = cursor.be64(), block = cursor.be64();
  cursor.skip(4 + 8);
  if (!cursor.ok()) return error(ErrorCode::truncated, at, "the stream ends inside virtio-mem's section");
  if (!std::has_single_bit(block) || block < kMinBlock || region % block || region > kMaxRamBytes)
    return error(ErrorCode::bad_length, at,
                 "virtio-mem of " + hex(region) + " bytes in blocks of " + hex(block));
  cursor.skip((region / block + 63) / 64 * 8);
  return Done{};
}

}  // namespace

bool begins_early_section(Cursor cursor) {
  const Header header = read_header(cursor);
  const std::string& name = header.section.name;
  return cursor.ok() && header.type == kSectionFull &&
         (name == kVirtioMem || name.ends_with("/" + std::string(kVirtioMem)));
}

Result<EarlySection> cross_early_section(Cursor& cursor) {
  const uint64_t at = cursor.position();
  Header header = read_header(cursor);
  if (header.version != kVersion)
    return error(
        ErrorCode::unsupported_version, at,
        "section " + std::string(kVirtioMem) + " version " + std::to_string(header.version) + ", expected 1");
  const uint64_t contents = cursor.position();
  if (Status skipped = skip_virtio_mem(cursor); !skipped) return skipped.error();
  header.section.bytes = cursor.position() - contents;
  const uint64_t footer = cursor.position();
  const bool closed = cursor.u8() == kFooter && cursor.be32() == header.id;
  if (!cursor.ok()) return error(ErrorCode::truncated, footer, "the stream ends inside virtio-mem's section");
  if (!closed)
    return error(ErrorCode::bad_magic, footer, "no footer behind the fields of virtio-mem's section");
  return std::move(header.section);
}

void note_early(std::vector<EarlySection>& noted, const std::vector<EarlySection>& more) {
  for (const EarlySection& section : more)
    if (noted.size() < kMaxEarly) noted.push_back(section);
}

}  // namespace pars::stream
