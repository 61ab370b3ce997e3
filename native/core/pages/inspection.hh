// SPDX-License-Identifier: Apache-2.0
// The whole look inside: from image bytes to a class for every page. Everything below it is reached through
// this.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "core/bytes.hh"
#include "core/image/domain_xml.hh"
#include "core/image/migration_stream.hh"
#include "core/pages/reading_view.hh"
#include "core/pages/reason.hh"
#include "core/pages/recovery.hh"

namespace pars {

struct ClassCount {
  uint64_t pages = 0;
  uint64_t payload_pages = 0;  ///< the image holds 4096 bytes for it that are not one repeated word
  uint64_t fill_pages = 0;     ///< one repeated 64-bit word, not zero
  uint64_t zero_pages = 0;
};

struct Inspection {
  bool introspected = false;
  std::string reason;          ///< why not, in one sentence; empty when introspected
  std::string kernel_release;  ///< "6.1.0-56-amd64", or empty
  std::string cache_problem;   ///< what its BTF lacks for any page cache to be expendable; empty when nothing
  std::string unknown_member;  ///< of its cache structures, one never met: "address_space.i_new"; or empty
  std::vector<std::vector<PageClass>> classes;  ///< [block][page frame]
  std::vector<std::vector<Reason>> reasons;     ///< and why, likewise
  std::array<ClassCount, kPageClasses> counts{};
  ReasonCounts reason_counts{};
  Recovery recovery;
  std::vector<std::pair<std::string, uint64_t>> notes;  ///< "why other-cache" and the like: reason, pages
};

/// Never fails: a guest that cannot be proven is "not introspected", all its pages kernel (device for other
/// RAM blocks). `head_end`: recovery never writes below this image offset, and nothing below it is lost.
/// `options`: for those who want more of it, or look at a guest that runs.
Inspection inspect(Bytes image, const DomainXml& domain, const MigrationStream& stream, uint64_t head_end,
                   const InspectOptions& options = {});

}  // namespace pars
