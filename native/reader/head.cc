#include "reader/head.hh"

// The plain SHA256_* functions read no configuration file, which the jail would not allow.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

#include "core/stream_format.hh"

namespace pars::reader {

namespace {

constexpr uint8_t kStubMagic[8] = {0x50, 0x41, 0x52, 0x53, 0x53, 0x54, 0x5c, 0x01};
constexpr uint64_t kMaxStubBytes = 4096;

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

}  // namespace

uint64_t find_head_end(Bytes image, uint64_t stream_offset) {
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

std::string sha256_hex(Bytes bytes) {
  SHA256_CTX context;
  uint8_t digest[SHA256_DIGEST_LENGTH];
  SHA256_Init(&context);
  SHA256_Update(&context, bytes.data(), bytes.size());
  SHA256_Final(digest, &context);
  return hex(digest);
}

std::string stub_record_hex(Bytes image, uint64_t head_end) {
  if (head_end == 0 || !stub_magic_at(image, head_end)) return "";
  return hex(image.subspan(head_end, std::min(kMaxStubBytes, image.size() - head_end)));
}

}  // namespace pars::reader
