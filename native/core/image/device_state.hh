// SPDX-License-Identifier: Apache-2.0
// The device state behind the RAM: found and measured by the JSON description at the stream's end, so that a
// vCPU's registers lie at exact offsets for any version of QEMU. Source: QEMU, devel/migration in its docs,
// migration/vmstate.c.
#pragma once
#include <vector>

#include "core/bytes.hh"
#include "core/image/migration_stream.hh"
#include "core/result.hh"

namespace pars {

struct Vcpu {
  uint32_t instance = 0;
  uint64_t cr0 = 0;
  uint64_t cr3 = 0;
  uint64_t cr4 = 0;
  uint64_t rip = 0;
  bool paging() const { return cr0 >> 31 & 1; }
};

/// The registers of every vCPU, after a walk in which every section's footer stood where the description
/// says. Errors: truncated (no description), bad_text, bad_offset (a section is not where it should be),
/// limit.
Result<std::vector<Vcpu>> read_vcpus(Bytes image, const MigrationStream& stream);

}  // namespace pars
