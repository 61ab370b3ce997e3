// SPDX-License-Identifier: Apache-2.0
// What the reader found, as JSON.
#pragma once
#include <nlohmann/json.hpp>

#include "core/image/domain_xml.hh"
#include "core/image/save_image.hh"
#include "core/pages/inspection.hh"
#include "reader/disks.hh"
#include "reader/estimate.hh"

namespace pars::reader {

nlohmann::json domain_facts(const DomainXml& domain);
/// Counts by class, with what they would take in the store where that was estimated.
nlohmann::json inspection_facts(const MigrationStream& stream, const Inspection& inspection,
                                const Estimate* estimate);
/// What the disks hold of the cache: pages, and of each class.
nlohmann::json reference_facts(const Comparison& found);

}  // namespace pars::reader
