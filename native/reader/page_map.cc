// SPDX-License-Identifier: Apache-2.0
#include "reader/page_map.hh"

#include <cstdio>

#include "core/kernel/guest_ram.hh"

namespace pars::reader {

using nlohmann::json;

namespace {

/// 64-bit words are text: JSON's numbers end at 2^53.
std::string word(uint64_t value) {
  char text[19];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

json file_facts(const CachedFileFacts& file) {
  return {{"inode", word(file.inode)},      {"bytes", word(file.bytes)},      {"mode", file.mode},
          {"fileSystem", file.file_system}, {"superBlock", file.super_block}, {"path", file.path}};
}

json struct_page_facts(const PageExplanation& page) {
  return {{"flags", word(page.flags)},          {"flagNames", page.flag_names},
          {"refcount", page.refcount},          {"typeWord", page.type_word},
          {"mapping", word(page.mapping)},      {"index", word(page.index)},
          {"private", word(page.private_data)}, {"head", page.head}};
}

}  // namespace

json map_facts(const MemoryMap& map, const std::vector<FileShare>& files) {
  json segments = json::array(), shares = json::array();
  for (const MapSegment& segment : map.segments) {
    json runs = json::array();
    for (const MapRun& run : segment.runs) runs.push_back({static_cast<int>(run.page_class), run.cells});
    segments.push_back({{"gpa", segment.gpa}, {"bytes", segment.bytes}, {"runs", runs}});
  }
  for (const FileShare& share : files)
    shares.push_back({{"cleanPages", share.clean_pages}, {"file", file_facts(share.file)}});
  return {{"cellPages", map.cell_pages}, {"segments", segments}, {"files", shares}};
}

json explanation_facts(const DomainXml& domain, const MigrationStream& stream, const Inspection& inspection,
                       const std::vector<PageExplanation>& shown, uint64_t first_pfn, uint64_t pages) {
  json out = json::array();
  const auto layout = lay_out_ram(domain, stream);
  const std::vector<Segment> segments = layout ? *layout : std::vector<Segment>();
  for (uint64_t pfn = first_pfn; pfn < first_pfn + pages; pfn++) {
    json page = {
        {"pfn", pfn}, {"class", nullptr}, {"reason", nullptr}, {"structPage", nullptr}, {"file", nullptr}};
    for (const Segment& s : segments) {
      if (pfn < s.gpa / kPageSize || pfn - s.gpa / kPageSize >= s.bytes / kPageSize) continue;
      const uint64_t at = s.block_page + pfn - s.gpa / kPageSize;
      const ReasonFacts& why = facts_of(inspection.reasons[s.block][at]);
      page["class"] = kPageClassNames[static_cast<size_t>(inspection.classes[s.block][at])];
      page["reason"] = {{"name", why.name}, {"rule", why.rule}, {"text", why.text}};
      page["inImage"] = stream.blocks[s.block].pages[at] != kZeroPage;
    }
    if (pfn - first_pfn < shown.size() && shown[pfn - first_pfn].has_struct_page) {
      page["structPage"] = struct_page_facts(shown[pfn - first_pfn]);
      if (const auto& file = shown[pfn - first_pfn].file) page["file"] = file_facts(*file);
    }
    out.push_back(page);
  }
  return {{"introspected", inspection.introspected}, {"why", inspection.reason}, {"pages", out}};
}

}  // namespace pars::reader
