// SPDX-License-Identifier: Apache-2.0
// What people look at beside the counts, as JSON: the map of memory, the largest files of the cache, pages
// explained.
#pragma once
#include <nlohmann/json.hpp>

#include "core/pages/explain.hh"
#include "core/pages/inspection.hh"
#include "core/pages/memory_map.hh"

namespace pars::reader {

nlohmann::json map_facts(const MemoryMap& map, const std::vector<FileShare>& files);
/// `shown` as explained by the observer, empty when nobody believed a reading; class and reason are the
/// inspection's last word.
nlohmann::json explanation_facts(const DomainXml& domain, const MigrationStream& stream,
                                 const Inspection& inspection, const std::vector<PageExplanation>& shown,
                                 uint64_t first_pfn, uint64_t pages);

}  // namespace pars::reader
