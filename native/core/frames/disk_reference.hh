// SPDX-License-Identifier: Apache-2.0
// Payload that one of the guest's own disks holds as well, and that is therefore not stored: where it lies,
// and a digest that tells later whether it still does. Byte table: docs/format.md, "Frames".
#pragma once
#include <array>
#include <span>
#include <vector>

#include "core/bytes.hh"
#include "core/pages/page_class.hh"
#include "core/result.hh"

namespace pars {

/// A page's place on a disk. Sectors are 512 bytes, and no page begins anywhere else.
struct DiskPlace {
  uint64_t offset = 0;  ///< bytes from the disk's beginning
  uint16_t disk = 0;    ///< number of the disk in the manifest
  bool operator==(const DiskPlace&) const = default;
};

/// A payload of the image whose bytes were read from that place and found equal.
struct PageReference {
  uint64_t payload = 0;  ///< offset in the image
  DiskPlace place;
};

/// The first half of a SHA-256: what it guards against is change, and 128 bits leave no room for chance.
using RunDigest = std::array<uint8_t, 16>;

/// Pages that follow each other on a disk and in the stripe's stream of referenced payloads, all of one
/// class.
struct DiskRun {
  DiskPlace place;
  uint16_t pages = 0;
  PageClass page_class = PageClass::kernel;
  RunDigest digest{};
};

/// One block that changed on a disk costs at most so many pages.
inline constexpr uint16_t kMaxRunPages = 32;
inline constexpr uint64_t kSectorBytes = 512;
/// Larger than any disk: the last byte of a run lies below it.
inline constexpr uint64_t kMaxDiskBytes = 1ull << 60;

/// The bytes of a table of runs.
std::vector<uint8_t> encode_references(const std::vector<DiskRun>& runs);

/// Reads a table; every run is well formed by itself and there is nothing behind the last. Anything else is
/// corrupt.
Result<std::vector<DiskRun>> decode_references(Bytes table);

/// The digest of a run's pages, one after another.
RunDigest digest_of(Bytes pages);

}  // namespace pars
