// SPDX-License-Identifier: Apache-2.0
#include "reader/facts.hh"

#include <algorithm>

#include "core/kernel/guest_ram.hh"

namespace pars::reader {

using nlohmann::json;

namespace {

json class_facts(const Inspection& inspection, const Estimate* estimate) {
  json classes = json::object();
  for (size_t c = 0; c < kPageClasses; c++) {
    const ClassCount& n = inspection.counts[c];
    json& entry = classes[kPageClassNames[c]];
    entry = {{"pages", n.pages},
             {"payloadPages", n.payload_pages},
             {"fillPages", n.fill_pages},
             {"zeroPages", n.zero_pages}};
    if (!estimate) continue;
    const ClassSample& sample = estimate->classes[c];
    entry["headPages"] = sample.head_pages;
    entry["sample"] = {{"pages", sample.pages}, {"compressedBytes", sample.compressed}};
  }
  return classes;
}

/// Why pages are of their class, in the order of classes.
json reason_facts(const ReasonCounts& counts) {
  json reasons = json::array();
  for (size_t c = 0; c < kPageClasses; c++) {
    for (size_t r = 0; r < kReasons; r++) {
      if (counts[c][r] == 0) continue;
      const ReasonFacts& why = facts_of(static_cast<Reason>(r));
      reasons.push_back({{"class", kPageClassNames[c]},
                         {"reason", why.name},
                         {"rule", why.rule},
                         {"text", why.text},
                         {"pages", counts[c][r]}});
    }
  }
  return reasons;
}

/// Where a sparse image holds the pages of each block; of records nothing.
json mapped_facts(const MigrationStream& stream) {
  json blocks = json::array();
  if (stream.mapped)
    for (const RamBlock& b : stream.blocks)
      blocks.push_back(
          {{"bitmapOffset", b.bitmap_offset}, {"pagesOffset", b.pages_offset}, {"bytes", b.bytes}});
  return blocks;
}

json optional_text(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

json network_facts(const NetworkSource& network) {
  json hosts = json::array();
  for (const NetworkHost& h : network.hosts)
    hosts.push_back({{"transport", h.transport}, {"name", h.name}, {"port", h.port}, {"socket", h.socket}});
  return {{"protocol", network.protocol}, {"name", network.name},         {"hosts", hosts},
          {"tls", network.tls},           {"user", network.user},         {"secret", network.secret},
          {"config", network.config},     {"snapshot", network.snapshot}, {"query", network.query}};
}

json disk_facts(const Disk& disk) {
  json backing = json::array();
  for (const BackingStore& b : disk.backing) backing.push_back({{"source", b.source}, {"format", b.format}});
  return {{"target", disk.target},
          {"type", disk.type},
          {"device", disk.device},
          {"source", disk.source},
          {"format", disk.format},
          {"readOnly", disk.read_only},
          {"pool", disk.pool},
          {"volume", disk.volume},
          {"network", disk.network ? network_facts(*disk.network) : json(nullptr)},
          {"backing", backing}};
}

}  // namespace

json domain_facts(const DomainXml& domain) {
  json disks = json::array();
  for (const Disk& disk : domain.disks) disks.push_back(disk_facts(disk));
  return {{"name", domain.name},
          {"uuid", domain.uuid},
          {"architecture", domain.architecture},
          {"machine", domain.machine},
          {"memoryBytes", domain.memory_bytes},
          {"disks", disks},
          {"policy", domain.metadata_policy ? json(*domain.metadata_policy) : json(nullptr)},
          {"optOut", domain.metadata_opt_out},
          {"diskReferences", !domain.metadata_no_disk_references},
          {"acceptChangedDisks", domain.metadata_accept_changed_disks},
          {"acceptUncomparedDisks", domain.metadata_accept_uncompared_disks}};
}

json inspection_facts(const MigrationStream& stream, const Inspection& inspection, const Estimate* estimate) {
  uint64_t pages = 0, zero_pages = 0;
  for (size_t c = 0; c < kPageClasses; c++) {
    if (c == static_cast<size_t>(PageClass::device)) continue;
    pages += inspection.counts[c].pages, zero_pages += inspection.counts[c].zero_pages;
  }
  json notes = json::array();
  for (const auto& [text, count] : inspection.notes) notes.push_back({{"text", text}, {"pages", count}});
  return {{"guest",
           {{"introspected", inspection.introspected},
            {"kernel", optional_text(inspection.kernel_release)},
            {"reason", optional_text(inspection.reason)}}},
          {"ram", {{"pageSize", kPageSize}, {"pages", pages}, {"zeroPages", zero_pages}}},
          {"classes", class_facts(inspection, estimate)},
          {"reasons", reason_facts(inspection.reason_counts)},
          {"notes", notes},
          {"stream",
           {{"machine", stream.machine},
            {"payloadRecords", stream.payload_records},
            {"zeroRecords", stream.zero_records},
            {"repeatedRecords", stream.repeated_records},
            {"mappedBlocks", mapped_facts(stream)}}},
          {"restCompressedBytes", estimate && estimate->rest ? json(*estimate->rest) : json(nullptr)},
          {"recovery",
           {{"folios", inspection.recovery.folios.size()}, {"writes", inspection.recovery.writes.size()}}}};
}

json reference_facts(const Comparison& found) {
  json classes = json::object();
  for (size_t c = 0; c < kPageClasses; c++) classes[kPageClassNames[c]] = found.equal_pages[c];
  return {{"cached", found.cached},
          {"placed", found.placed},
          {"outOfTime", found.out_of_time},
          {"equal", classes}};
}

}  // namespace pars::reader
