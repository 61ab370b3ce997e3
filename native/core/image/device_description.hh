// SPDX-License-Identifier: Apache-2.0
// The JSON text at a stream's end, in which QEMU tells every device section's fields and their sizes. Read as
// events, never as a tree: what is kept is a few numbers a device, whatever the text holds.
#pragma once
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hh"

namespace pars {

/// The registers looked for in sections named "cpu", in this order.
inline constexpr std::array<std::string_view, 4> kRegisterFields = {"env.cr[0]", "env.cr[3]", "env.cr[4]",
                                                                    "env.eip"};
inline constexpr uint64_t kNoField = UINT64_MAX;

struct DeviceDescription {
  std::string name;
  uint32_t instance = 0;
  uint64_t bytes = 0;  ///< between the section's header and its footer
  /// Where in them each register's 8 bytes lie; kNoField if it is not a field of 8 bytes.
  std::array<uint64_t, kRegisterFields.size()> registers = {kNoField, kNoField, kNoField, kNoField};
};

inline constexpr size_t kMaxDescriptionBytes = 32u << 20;  ///< about 20 KiB a vCPU and 100 KiB for the rest
inline constexpr size_t kMaxDevices = 65536;
inline constexpr size_t kMaxDescriptionDepth = 64;

/// `offset` is where the text lies in the image, for errors: bad_text, bad_length (a size no image has),
/// limit.
Result<std::vector<DeviceDescription>> parse_device_description(std::string_view text, uint64_t offset);

}  // namespace pars
