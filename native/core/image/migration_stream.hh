// SPDX-License-Identifier: Apache-2.0
// QEMU's migration stream, walked once: which RAM blocks there are, where in the image each page's bytes lie,
// and what stands around them. Nothing is copied. Format: docs/format.md, "The QEMU migration stream".
#pragma once
#include <string>
#include <vector>

#include "core/bytes.hh"
#include "core/image/fill.hh"
#include "core/image/image_window.hh"
#include "core/image/page_index.hh"
#include "core/result.hh"

namespace pars {

/// More RAM than this is refused, whatever the image says.
inline constexpr uint64_t kMaxRamBytes = 4ull << 40;
/// QEMU sends every page at least once (nine bytes for a zero page), but for memory a guest has given back.
/// So an image may announce this many pages more than its own length can account for.
inline constexpr uint64_t kMaxUnsentPages = (64ull << 30) / kPageSize;
/// RAM of at most so many times the image's length gets page indexes in large pages of memory: a 64th of the
/// image.
inline constexpr uint64_t kDenseRam = 8;

struct RamBlock {
  std::string name;
  uint64_t bytes = 0;          ///< multiple of kPageSize, not 0
  PageIndex pages;             ///< one a page frame of the block
  uint64_t bitmap_offset = 0;  ///< mapped-ram: where in the image the bitmap of its pages lies; else 0
  uint64_t pages_offset = 0;   ///< mapped-ram: where its first page lies, the others behind it; else 0
};

/// A place where the walk can be taken up again: the first record header at or after a boundary.
struct Stripe {
  uint64_t image_offset = 0;  ///< of the record's header word
  uint64_t length = 0;        ///< up to the next stripe, or to the end of the image for the last
  uint32_t block = 0;         ///< RAM block in force, for records that say CONTINUE
  uint32_t payload_pages = 0;
  bool hole = false;  ///< mapped-ram: places of zero pages and nothing else
};

/// A device's section before the pages, as virtio-mem has one (early_section.hh).
struct EarlySection {
  std::string name;
  uint32_t instance = 0;
  uint64_t bytes = 0;  ///< between its header and its footer
  bool operator==(const EarlySection&) const = default;
};

struct MigrationStream {
  uint32_t version = 0;
  std::string machine;  ///< from the configuration section
  std::vector<RamBlock> blocks;
  bool mapped = false;  ///< mapped-ram: pages lie at fixed places, and there are no records (mapped_ram.hh)
  uint32_t ram_section = 0;         ///< id of the section "ram"
  std::vector<EarlySection> early;  ///< devices' sections before the RAM's end, in order
  uint64_t ram_end = 0;             ///< image offset of the first byte after the RAM section's END footer
  std::vector<Stripe> stripes;      ///< they cover [first record header >= kHeadBytes, end of image)
  uint64_t payload_records = 0;     ///< records that carry 4096 bytes
  uint64_t zero_records = 0;
  uint64_t repeated_records = 0;  ///< payload records that a later record of the same page replaced
  std::vector<uint64_t>
      vmcoreinfo;  ///< image offsets of payloads that begin "OSRELEASE=" (at most kMaxVmcoreinfo)
  FillCandidates
      fills;  ///< payloads that may be one repeated word; the plain walk leaves every one a candidate
};

/// The head of an image that a stub keeps genuine: everything before the first record header at or after this
/// offset.
inline constexpr uint64_t kHeadBytes = 4ull << 20;
/// Page records in a stripe, the unit of parallel work and of loss (about 8 MiB of image).
inline constexpr uint32_t kStripePages = 2048;
/// Beyond it, 4 GiB of an image would be notes: 8 MiB of offsets are what they may cost.
inline constexpr size_t kMaxVmcoreinfo = 1 << 20;

/// One RAM record met while walking a stretch of the image.
struct PageRecord {
  uint64_t header = 0;        ///< image offset of the record's word
  uint32_t header_bytes = 0;  ///< 8, or 8 + 1 + name length; 0 in mapped-ram
  uint64_t payload = 0;       ///< image offset of the 4096 bytes
  uint32_t block = 0;         ///< index into MigrationStream::blocks
  uint64_t page = 0;          ///< page frame within the block
  bool zero = false;          ///< mapped-ram: a zero page, whatever bytes lie in its place
};

/// Walks the whole stream. Fast path of the product: touches one cache line a page, in two threads. Through
/// `descriptor`, if there is one, where read(2) is faster than the mapping. Errors: truncated, bad_magic,
/// unsupported_version, bad_flags, bad_length, bad_offset, unsupported_layout, limit; offsets are image
/// offsets.
Result<MigrationStream> parse_migration_stream(Bytes image, uint64_t stream_offset,
                                               ImageDescriptor descriptor = {});
/// The same answer record by record in one thread: what the fast walk is compared with.
Result<MigrationStream> parse_migration_stream_plainly(Bytes image, uint64_t stream_offset);

/// The page records with payload of one stripe, in stream order; of mapped-ram every page's place in it.
/// `stream` must come from the same bytes.
std::vector<PageRecord> stripe_records(Bytes image, const MigrationStream& stream, const Stripe& stripe);

}  // namespace pars
