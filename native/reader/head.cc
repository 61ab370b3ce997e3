// SPDX-License-Identifier: Apache-2.0
#include "reader/head.hh"

// The plain SHA256_* functions read no configuration file, which the jail would not allow.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "core/image/stream_format.hh"

namespace pars::reader {

namespace {

constexpr uint8_t kStubMagic[8] = {0x50, 0x41, 0x52, 0x53, 0x53, 0x54, 0x5c, 0x01};
constexpr uint64_t kMaxStubBytes = 4096;
constexpr uint64_t kLeadBytes = 1024;
/// SHA-256 of the preamble of each compressed format, from 1 (docs/format.md, "Compressed images").
constexpr std::array<std::string_view, 5> kLeadDigests = {
    "680ce21cf685f90ad208c9b5b75153fb13d09d67ad2554182db7daafd3c80e11",  // gzip
    "b0a150896e2a064ea9931f3bb4ad69e91e658749e6ec0b22a8adabc7683b75d5",  // bzip2
    "834d103641c6c1723b9d66bca19e899e3a6af4b3dcdd6e1d89bd7c322f2a3c12",  // xz
    "dc1621de73a901d256989a87f1798e920fca9fc8c4863f9413b8679461650b5e",  // lzop
    "01b5377854d762eb12092fb3a9a622ed91e389690d2d1bd13e418f43d7660c1f",  // zstd
};

std::string hex(Bytes bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (uint8_t b : bytes) out += {digits[b >> 4], digits[b & 15]};
  return out;
}

bool stub_magic_at(Bytes image, uint64_t position) {
  return position <= image.size() && image.size() - position >= sizeof kStubMagic &&
         std::memcmp(&image[position], kStubMagic, sizeof kStubMagic) == 0;
}

bool begins_stream(Bytes image, uint64_t position) {
  Cursor cursor(image, position);
  return cursor.be32() == stream::kStreamMagic;
}

uint64_t behind_raw_head(Bytes image, uint64_t stream_offset) {
  MigrationStream stream;
  auto position = stream::read_prologue(image, stream_offset, stream);
  stream::BlockInForce in_force;
  bool last_section = false;
  while (position) {
    const bool past = *position >= kHeadBytes;
    if (past && stub_magic_at(image, *position)) return *position;
    auto record = stream::read_ram_record(image, *position, stream.blocks, in_force);
    if (!record) return 0;
    if (record->kind != stream::RamRecord::Kind::end) {
      if (past) return *position;
      in_force = {record->block, stream.blocks[record->block].pages.size()};
      position = *position + record->bytes();
      continue;
    }
    auto next = stream::cross_sections(image, *position + 8, stream.ram_section, last_section);
    if (!next || next->done) return 0;
    position = next->position, last_section = next->is_end;
  }
  return 0;
}

uint64_t behind_lead(Bytes image, uint64_t stream_offset, SaveFormat format) {
  const auto number = static_cast<uint32_t>(format);
  const uint64_t record = stream_offset + kLeadBytes;
  if (number == 0 || number > kLeadDigests.size() || !stub_magic_at(image, record)) return 0;
  return sha256_hex(image.subspan(stream_offset, kLeadBytes)) == kLeadDigests[number - 1] ? record : 0;
}

}  // namespace

std::string sha256_hex(Bytes bytes) {
  SHA256_CTX context;
  uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256_Init(&context);
  SHA256_Update(&context, bytes.data(), bytes.size());
  SHA256_Final(digest, &context);
  return hex(digest);
}

uint64_t find_head_end(Bytes image, uint64_t stream_offset, SaveFormat format) {
  if (format == SaveFormat::raw) return behind_raw_head(image, stream_offset);
  if (format != SaveFormat::sparse) return behind_lead(image, stream_offset, format);
  return begins_stream(image, stream_offset) || stub_magic_at(image, stream_offset) ? stream_offset : 0;
}

std::string stub_record_hex(Bytes image, uint64_t head_end) {
  if (head_end == 0 || !stub_magic_at(image, head_end)) return "";
  return hex(image.subspan(head_end, std::min(kMaxStubBytes, image.size() - head_end)));
}

}  // namespace pars::reader
