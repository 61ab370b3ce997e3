// SPDX-License-Identifier: Apache-2.0
// The pieces of QEMU's migration stream that every walk shares: what stands before the RAM records, one
// record, and what stands between two RAM sections. Sources: QEMU migration/savevm.c, migration/ram.c;
// docs/format.md.
#pragma once
#include "core/image/migration_stream.hh"

namespace pars::stream {

inline constexpr uint8_t kSectionEof = 0x00, kSectionStart = 0x01, kSectionPart = 0x02, kSectionEnd = 0x03,
                         kSectionFull = 0x04, kSubsection = 0x05, kDescription = 0x06, kConfiguration = 0x07,
                         kCommand = 0x08, kFooter = 0x7e;
inline constexpr uint64_t kFooterBytes = 5;

inline constexpr uint32_t kStreamMagic = 0x5145564d;  // QEVM

// Flags in the low twelve bits of a RAM record's word.
inline constexpr uint32_t kRamZero = 0x002, kRamMemSize = 0x004, kRamPage = 0x008, kRamEos = 0x010,
                          kRamContinue = 0x020, kRamXbzrle = 0x040, kRamHook = 0x080, kRamCompressed = 0x100,
                          kRamMultifdFlush = 0x200;
inline constexpr uint64_t kFlagMask = kPageSize - 1;

inline constexpr uint32_t kNoBlock = UINT32_MAX;
inline constexpr uint64_t kPageRecordBytes = 8 + kPageSize;  ///< of a page in the block in force
inline constexpr uint64_t kZeroRecordBytes = 8 + 1;

inline Error error(ErrorCode code, uint64_t offset, std::string what) {
  return {code, offset, std::move(what)};
}
std::string hex(uint64_t value);

/// How pages are saved: as records within the stream, or at fixed places of the file (mapped_ram.hh).
enum class PageLayout { records, mapped };

/// Reads the stream's header, its configuration and the RAM section's list of blocks into `stream` (page
/// indexes and all). Answers the image offset of the first RAM record.
Result<uint64_t> read_prologue(Bytes image, uint64_t stream_offset, MigrationStream& stream,
                               PageLayout layout = PageLayout::records);

/// What records that say CONTINUE refer to.
struct BlockInForce {
  uint32_t block = kNoBlock;
  uint64_t pages = 0;
};

struct RamRecord {
  enum class Kind { page, zero, end };
  Kind kind = Kind::end;
  uint32_t header_bytes = 8;
  uint32_t block = 0;
  uint64_t page = 0;
  uint64_t bytes() const {
    return header_bytes + (kind == Kind::page ? kPageSize : kind == Kind::zero ? 1 : 0);
  }
};

/// The record at `position`, checked whole: its flags, block, page and that all its bytes are there.
Result<RamRecord> read_ram_record(Bytes image, uint64_t position, const std::vector<RamBlock>& blocks,
                                  BlockInForce in_force);

struct NextSection {
  uint64_t position = 0;  ///< of the next RAM section's first record, or of the first byte behind the RAM
  bool is_end = false;    ///< that section is the last
  bool done = false;      ///< there is none
  std::vector<EarlySection> early = {};  ///< devices' sections that were crossed
};

/// From just behind a RAM section's EOS word over its footer to the next RAM section.
Result<NextSection> cross_sections(Bytes image, uint64_t position, uint32_t ram_section, bool was_end);

}  // namespace pars::stream
