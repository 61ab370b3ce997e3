// SPDX-License-Identifier: Apache-2.0
// What an image would take in the store, estimated: classes from samples of their pages, the rest from
// stripes that are cut as an offload cuts them.
#pragma once
#include <array>

#include "core/image/migration_stream.hh"
#include "core/pages/inspection.hh"

namespace pars::reader {

struct ClassSample {
  uint64_t head_pages = 0;  ///< payload in the head, which is stored as it is and has no classes
  uint64_t pages = 0;       ///< sampled
  uint64_t compressed = 0;  ///< bytes they take
};

struct Estimate {
  std::array<ClassSample, kPageClasses> classes{};
  /// Frames of no class (head, records, device state, fills, recoveries) and the index; absent where the
  /// image is not cut by its records.
  std::optional<uint64_t> rest;
};

/// `head_end`: where the stripes begin; 0 when nothing is cut.
Estimate estimate(Bytes image, const MigrationStream& stream, const Inspection& inspection,
                  uint64_t head_end);

}  // namespace pars::reader
