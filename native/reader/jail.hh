// SPDX-License-Identifier: Apache-2.0
// The reader's jail (R1): whoever takes over this process through a hostile image has no privilege, no file,
// no network to use.
#pragma once
#include <cstdint>
#include <string>

namespace pars::reader {

inline constexpr int kRequestFd = 0, kImageFd = 3, kAnswerFd = 4;
/// And so many more as the disks have files, each a file or block device opened read-only.
inline constexpr int kFirstDiskFd = 5, kMaxDiskFiles = 64;

/// Gives everything up but the descriptors above. Empty when it worked, else what could not be given up.
/// `live`: a running guest's memory is looked at through shared memory, of which there is no limit then.
std::string enter_jail(uint64_t image_bytes, int disk_files = 0, bool live = false);

}  // namespace pars::reader
