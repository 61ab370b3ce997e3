// SPDX-License-Identifier: Apache-2.0
// The RAM of a guest that runs, read in place from /proc/PID/mem, as if it were an image: a page is fetched
// when it is first looked at and stays as it was then. It is of no one moment: good for a report, never for
// an offload.
#pragma once
#include <nlohmann/json.hpp>

#include "core/image/domain_xml.hh"
#include "core/pages/inspection.hh"

namespace pars::reader {

struct LiveGuest {
  DomainXml domain;
  MigrationStream stream;  ///< RAM blocks only
  Bytes memory;            ///< what the stream's page locations point into
  std::vector<Vcpu> vcpus;
};

/// From a request {xml, blocks: [{name, bytes, address}], vcpus: [{cr0, cr3, cr4}]}, numbers as hex text.
/// Reads all of RAM once, to tell zero pages and repeated words.
Result<LiveGuest> open_live_guest(const nlohmann::json& request);

}  // namespace pars::reader
