// SPDX-License-Identifier: Apache-2.0
// The "sparse" save format, QEMU's mapped-ram: every page of a RAM block has its place in the file, and a
// bitmap before them says which of those places hold a page. A page whose bit is clear is zero, whatever
// bytes lie there. What comes of it is the page index that a stream of records gives. Source: QEMU
// migration/ram.c; byte table: docs/format.md, "Sparse images".
#pragma once
#include "core/image/migration_stream.hh"

namespace pars {

/// Reads the bitmaps of every block, and the RAM's sections, which hold no records.
/// Errors: as parse_migration_stream, and bad_flags for bits of pages that a block does not have.
Result<MigrationStream> parse_mapped_ram(Bytes image, uint64_t stream_offset,
                                         ImageDescriptor descriptor = {});

/// Every page's place in a stripe, zero pages too; none of a hole.
std::vector<PageRecord> mapped_records(const MigrationStream& stream, const Stripe& stripe);

/// Bytes of the bitmap of so many pages: whole 64-bit words.
inline constexpr uint64_t bitmap_bytes(uint64_t pages) { return (pages + 63) / 64 * sizeof(uint64_t); }

namespace stream {

/// Reads what stands behind a block's length, where the cursor is, and moves it behind the block's last page.
/// Bitmap and pages follow the header as QEMU lays them out, so those of two blocks cannot meet.
Status read_mapped_header(Cursor& cursor, uint64_t image_bytes, RamBlock& block);

}  // namespace stream

}  // namespace pars
