// SPDX-License-Identifier: Apache-2.0
// What the frames of an image are made of, told to the parent stripe by stripe; it copies the bytes itself.
#pragma once
#include "core/frames/disk_reference.hh"
#include "core/pages/inspection.hh"

namespace pars::reader {

/// Sends stripe and table messages for the whole image. `stream` null: nothing is looked into, all is
/// skeleton. `head_end` 0: there is no head, the image is cut blindly. `references`, ascending by payload:
/// what need not be stored since a disk holds it.
Status send_stripes(Bytes image, const MigrationStream* stream, const Inspection* inspection,
                    uint64_t head_end, std::vector<PageReference> references = {});

}  // namespace pars::reader
