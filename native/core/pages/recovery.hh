// SPDX-License-Identifier: Apache-2.0
// What must change in the guest's memory when an expendable page is lost: single bytes of kernel memory,
// worked out at offload from the whole image and applied blindly at restore. Byte table: docs/format.md,
// "Recovery".
#pragma once
#include <cstdint>
#include <vector>

namespace pars {

/// image[offset] = (image[offset] & ~mask) | value, on the payload of a page that is stored as critical.
struct RecoveryWrite {
  uint64_t image_offset = 0;
  uint8_t mask = 0;
  uint8_t value = 0;
  bool operator==(const RecoveryWrite&) const = default;
};

/// One for each clean-cache folio that has payload outside the head. Sorted by `first_payload`.
struct FolioRecovery {
  uint64_t first_payload = 0;  ///< lowest image offset of a payload of this folio
  uint64_t last_payload = 0;   ///< highest; all its payloads lie between (a folio may straddle two stripes)
  uint32_t first_write = 0;    ///< into Recovery::writes
  uint32_t writes = 0;
};

struct Recovery {
  std::vector<FolioRecovery> folios;
  std::vector<RecoveryWrite> writes;
};

}  // namespace pars
