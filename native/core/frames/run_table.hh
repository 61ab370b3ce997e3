// SPDX-License-Identifier: Apache-2.0
// The run table at the front of a skeleton frame: where in a stripe the payloads lie, and which frame holds
// them. Byte table: docs/format.md, "Frames".
#pragma once
#include <vector>

#include "core/bytes.hh"
#include "core/frames/frame.hh"
#include "core/result.hh"

namespace pars {

/// A record header without a block name is one word; with one it is a word, a length byte and the name.
inline constexpr uint32_t kRecordWordBytes = 8;
inline constexpr uint32_t kMaxRecordHeaderBytes = kRecordWordBytes + 1 + 255;

/// Skeleton bytes, then payloads of one kind that stand close: between two of them there is a record word, or
/// in mapped-ram nothing.
struct Run {
  uint32_t lead = 0;
  uint32_t pages = 0;
  uint16_t header = 0;  ///< bytes of the first page's record header, the last ones of `lead`; 0: the pages
                        ///< have no records
  uint8_t source = 0;

  /// Skeleton bytes between two of its pages.
  uint32_t gap() const { return header == 0 ? 0 : kRecordWordBytes; }
  uint64_t skeleton_bytes() const { return pages == 0 ? lead : lead + uint64_t{gap()} * (pages - 1); }
};

struct RunTable {
  std::vector<Run> runs;
  Bytes rest;  ///< the skeleton bytes behind the table
};

/// Appends the table, count first, to `out`.
void encode_runs(const std::vector<Run>& runs, std::vector<uint8_t>& out);

/// Reads a table with nothing behind it. Every run is well formed by itself; anything else is corrupt.
Result<std::vector<Run>> decode_run_table(Bytes table);

/// Reads a decompressed skeleton frame. Every run is well formed by itself and the rest is exactly as long as
/// the runs say; anything else is corrupt. `skeleton` must outlive the table.
Result<RunTable> decode_runs(Bytes skeleton);

}  // namespace pars
