// SPDX-License-Identifier: Apache-2.0
// An image sent to the parent as stripes of compressed frames, in image order.
#pragma once
#include <array>

#include "core/frames/frame.hh"
#include "core/pages/inspection.hh"

namespace pars::reader {

struct PackRequest {
  std::array<bool, kPageClasses>
      stored{};  ///< classes whose frames are sent; of the others only the counts are
  int level = kMinLevel;
};

/// Sends stripe and frame messages for the whole image. `stream` null: nothing is looked into, all is
/// skeleton. `head_end` 0: there is no head, the image is cut blindly.
Status send_stripes(Bytes image, const MigrationStream* stream, const Inspection* inspection,
                    uint64_t head_end, const PackRequest& request);

}  // namespace pars::reader
