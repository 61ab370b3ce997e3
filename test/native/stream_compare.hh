// SPDX-License-Identifier: Apache-2.0
// Two answers about one stream, told apart by the first thing in which they differ.
#pragma once
#include <string>

#include "core/image/migration_stream.hh"

namespace pars::test {

inline std::string error_difference(const Error& a, const Error& b) {
  if (a.code != b.code)
    return std::string("error codes ") + error_code_name(a.code) + " and " + error_code_name(b.code);
  if (a.offset != b.offset)
    return "error offsets " + std::to_string(a.offset) + " and " + std::to_string(b.offset);
  return a.what == b.what ? "" : "error texts";
}

inline std::string block_difference(const RamBlock& a, const RamBlock& b) {
  if (a.name != b.name || a.bytes != b.bytes || a.pages.size() != b.pages.size())
    return "RAM block " + a.name;
  for (size_t page = 0; page < a.pages.size(); ++page)
    if (a.pages[page] != b.pages[page]) return "page " + std::to_string(page) + " of " + a.name;
  return "";
}

inline bool same_stripe(const Stripe& a, const Stripe& b) {
  return a.image_offset == b.image_offset && a.length == b.length && a.block == b.block &&
         a.payload_pages == b.payload_pages;
}

inline std::string stream_difference(const MigrationStream& a, const MigrationStream& b) {
  if (a.machine != b.machine || a.version != b.version || a.ram_section != b.ram_section)
    return "what stands before the RAM";
  if (a.early != b.early) return "the devices' sections before the pages";
  if (a.ram_end != b.ram_end) return "the end of the RAM";
  if (a.payload_records != b.payload_records || a.zero_records != b.zero_records)
    return "the numbers of records";
  if (a.repeated_records != b.repeated_records) return "the number of repeated records";
  if (a.vmcoreinfo != b.vmcoreinfo) return "the VMCOREINFO candidates";
  if (a.stripes.size() != b.stripes.size()) return "the number of stripes";
  for (size_t i = 0; i < a.stripes.size(); ++i)
    if (!same_stripe(a.stripes[i], b.stripes[i])) return "stripe " + std::to_string(i);
  if (a.blocks.size() != b.blocks.size()) return "the number of RAM blocks";
  for (size_t i = 0; i < a.blocks.size(); ++i)
    if (std::string difference = block_difference(a.blocks[i], b.blocks[i]); !difference.empty())
      return difference;
  return "";
}

/// Empty when they are the same in everything.
inline std::string difference(const Result<MigrationStream>& a, const Result<MigrationStream>& b) {
  if (a.ok() != b.ok()) return a.ok() ? "only the second is an error" : "only the first is an error";
  return a.ok() ? stream_difference(*a, *b) : error_difference(a.error(), b.error());
}

}  // namespace pars::test
