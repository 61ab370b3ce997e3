// SPDX-License-Identifier: Apache-2.0
// An image sent to the parent as stripes of compressed frames, in image order.
#pragma once
#include <array>

#include "core/frames/disk_reference.hh"
#include "core/frames/frame.hh"
#include "core/pages/inspection.hh"

namespace pars::reader {

struct PackRequest {
  std::array<bool, kPageClasses>
      stored{};  ///< classes whose frames are sent; of the others only the counts are
  int level = kMinLevel;
};

/// Sends stripe and frame messages for the whole image. `stream` null: nothing is looked into, all is
/// skeleton. `head_end` 0: there is no head, the image is cut blindly. `references`, ascending by payload:
/// what is not sent since a disk holds it.
Status send_stripes(Bytes image, const MigrationStream* stream, const Inspection* inspection,
                    uint64_t head_end, const PackRequest& request,
                    std::vector<PageReference> references = {});

}  // namespace pars::reader
