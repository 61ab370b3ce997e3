// SPDX-License-Identifier: Apache-2.0
#include "core/frames/run_table.hh"

namespace pars {
namespace {

constexpr size_t kRunBytes = 16;

Error bad_run(size_t index, const char* why) {
  return corrupt(sizeof(uint32_t) + index * kRunBytes,
                 "run " + std::to_string(index) + " of a skeleton " + why);
}

/// A run without pages holds the bytes behind the last payload, so only the last may be one.
const char* fault_of(const Run& run, bool last) {
  if (run.pages == 0) return last && run.header == 0 && run.source == 0 ? nullptr : "has no pages";
  if (!payload_kind(run.source)) return "names a frame kind that holds no pages";
  if (run.header != 0 &&
      (run.header < kRecordWordBytes || run.header > kMaxRecordHeaderBytes || run.header > run.lead))
    return "has an impossible record header";
  return nullptr;
}

}  // namespace

void encode_runs(const std::vector<Run>& runs, std::vector<uint8_t>& out) {
  append_le(out, static_cast<uint32_t>(runs.size()));
  for (const Run& run : runs) {
    append_le(out, run.lead);
    append_le(out, run.pages);
    append_le(out, run.header);
    out.push_back(run.source);
    out.insert(out.end(), 5, 0);
  }
}

static Result<Run> decode_run(Cursor& cursor, size_t index, bool last) {
  Run run;
  run.lead = cursor.le32();
  run.pages = cursor.le32();
  uint64_t tail = cursor.le64();
  run.header = tail & 0xffff;
  run.source = tail >> 16 & 0xff;
  if (tail >> 24) return bad_run(index, "has bytes set that must be zero");
  if (const char* fault = fault_of(run, last)) return bad_run(index, fault);
  return run;
}

static Result<std::vector<Run>> decode_runs_at(Cursor& cursor) {
  const size_t bytes = cursor.remaining();
  uint32_t count = cursor.le32();
  if (!cursor.ok() || count > cursor.remaining() / kRunBytes)
    return corrupt(0, "a skeleton of " + std::to_string(bytes) + " bytes cannot hold " +
                          std::to_string(count) + " runs");
  std::vector<Run> runs;
  runs.reserve(count);
  for (uint32_t i = 0; i < count; i++) {
    auto run = decode_run(cursor, i, i + 1 == count);
    if (!run) return run.error();
    runs.push_back(*run);
  }
  return runs;
}

Result<std::vector<Run>> decode_run_table(Bytes table) {
  Cursor cursor(table);
  auto runs = decode_runs_at(cursor);
  if (runs && cursor.remaining() > 0) return corrupt(cursor.position(), "a run table has bytes behind it");
  return runs;
}

Result<RunTable> decode_runs(Bytes skeleton) {
  Cursor cursor(skeleton);
  auto runs = decode_runs_at(cursor);
  if (!runs) return runs.error();
  uint64_t total = 0;
  for (const Run& run : *runs) total += run.skeleton_bytes();
  RunTable table{std::move(*runs), skeleton.subspan(cursor.position())};
  if (total != table.rest.size())
    return corrupt(0, "runs ask for " + std::to_string(total) + " skeleton bytes, " +
                          std::to_string(table.rest.size()) + " are there");
  return table;
}

}  // namespace pars
