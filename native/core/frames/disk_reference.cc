// SPDX-License-Identifier: Apache-2.0
#include "core/frames/disk_reference.hh"

#include <openssl/sha.h>

#include <algorithm>

#include "core/image/fill.hh"

namespace pars {
namespace {

constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 8, kDiskRunBytes = 32;

const char* fault_of(const DiskRun& run, uint32_t page_class) {
  if (run.pages == 0 || run.pages > kMaxRunPages) return "has an impossible number of pages";
  if (page_class >= kPageClasses) return "is of no page class";
  if (run.place.offset % kSectorBytes) return "does not begin at a sector";
  if (run.place.offset > kMaxDiskBytes - run.pages * kPageSize) return "lies past the end of any disk";
  return nullptr;
}

Result<DiskRun> decode_run(Cursor& cursor, uint32_t index) {
  DiskRun run;
  const uint64_t at = cursor.position();
  run.place.offset = cursor.le64();
  const uint64_t word = cursor.le64();
  run.place.disk = word & 0xffff;
  run.pages = word >> 16 & 0xffff;
  const uint32_t page_class = word >> 32 & 0xff;
  const Bytes digest = cursor.bytes(run.digest.size());
  std::copy(digest.begin(), digest.end(), run.digest.begin());
  const char* fault = word >> 40 ? "has bytes set that must be zero" : fault_of(run, page_class);
  if (fault) return corrupt(at, "reference " + std::to_string(index) + " of a stripe " + fault);
  run.page_class = static_cast<PageClass>(page_class);
  return run;
}

}  // namespace

std::vector<uint8_t> encode_references(const std::vector<DiskRun>& runs) {
  std::vector<uint8_t> out;
  out.reserve(kHeaderBytes + runs.size() * kDiskRunBytes);
  append_le(out, kVersion);
  append_le(out, static_cast<uint32_t>(runs.size()));
  for (const DiskRun& run : runs) {
    append_le(out, run.place.offset);
    append_le(out, run.place.disk);
    append_le(out, run.pages);
    append_le(out, uint32_t{static_cast<uint8_t>(run.page_class)});
    out.insert(out.end(), run.digest.begin(), run.digest.end());
  }
  return out;
}

Result<std::vector<DiskRun>> decode_references(Bytes table) {
  Cursor cursor(table);
  const uint32_t version = cursor.le32(), count = cursor.le32();
  if (!cursor.ok() || version != kVersion)
    return corrupt(0, "a table of references of a version that is not known");
  if (cursor.remaining() != uint64_t{count} * kDiskRunBytes)
    return corrupt(4, std::to_string(cursor.remaining()) + " bytes do not hold " + std::to_string(count) +
                          " references");
  std::vector<DiskRun> runs;
  runs.reserve(count);
  for (uint32_t i = 0; i < count; i++) {
    auto run = decode_run(cursor, i);
    if (!run) return run.error();
    runs.push_back(*run);
  }
  return runs;
}

RunDigest digest_of(Bytes pages) {
  uint8_t whole[SHA256_DIGEST_LENGTH];
  SHA256(pages.data(), pages.size(), whole);
  RunDigest digest;
  std::copy_n(whole, digest.size(), digest.begin());
  return digest;
}

}  // namespace pars
