// SPDX-License-Identifier: Apache-2.0
// Where on the guest's own block devices the pages of its cache lie, as its memory tells: files of ext4 by
// their extents, and block devices by their index. A place is a guess until the bytes there were compared:
// one that is wrong costs a comparison, and nothing else.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "core/image/page_index.hh"
#include "core/kernel/module_types.hh"
#include "core/pages/extent_tree.hh"
#include "core/pages/reading_view.hh"

namespace pars {

/// Reads disks of the domain, which nobody has matched with devices of the guest's yet.
struct DiskAccess {
  size_t disks = 0;
  /// Fills `out` from there; false when it cannot.
  std::function<bool(size_t disk, uint64_t offset, std::span<uint8_t> out)> read;
};

struct PlacedPage {
  PageLocation payload = 0;  ///< where in the image its bytes are
  uint64_t offset = 0;       ///< on the device
  uint32_t block_page = 0;   ///< page frame within its RAM block
  uint16_t block = 0;        ///< of the stream
  uint16_t device = 0;       ///< into PlacedPages::devices
};

struct PlacedPages {
  std::vector<uint64_t> devices;  ///< gendisks of the guest's
  std::vector<PlacedPage> pages;  ///< in the order of guest memory
  uint64_t cached = 0;            ///< pages of the cache that have payload, placed or not
};

/// All places that can be told. `disks` is asked for index blocks that the guest does not have in its memory.
PlacedPages place_pages(const ReadingView& view, const DiskAccess& disks);

}  // namespace pars
