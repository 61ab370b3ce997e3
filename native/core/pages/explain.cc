// SPDX-License-Identifier: Apache-2.0
#include "core/pages/explain.hh"

#include <algorithm>
#include <unordered_map>

namespace pars {

namespace {

std::vector<const char*> names_of(uint64_t flags, const PageFlags& f) {
  const std::pair<uint64_t, const char*> known[] = {{f.locked, "locked"},
                                                    {f.uptodate, "uptodate"},
                                                    {f.dirty, "dirty"},
                                                    {f.lru, "lru"},
                                                    {f.head, "head"},
                                                    {f.writeback, "writeback"},
                                                    {f.reserved, "reserved"},
                                                    {f.private_data, "private"},
                                                    {f.swapbacked, "swapbacked"},
                                                    {f.unevictable, "unevictable"},
                                                    {f.swapcache, "swapcache"},
                                                    {f.mlocked, "mlocked"},
                                                    {f.hwpoison, "hwpoison"},
                                                    {f.private_2, "private_2"},
                                                    {f.error, "error"},
                                                    {f.checked, "checked"},
                                                    {f.slab, "slab"}};
  std::vector<const char*> names;
  for (auto [mask, name] : known)
    if (flags & mask) names.push_back(name);
  return names;
}

/// The frame whose fields speak for `pfn`: its compound page's head, or itself.
uint64_t head_frame(const PageArray& array, uint64_t pfn, const StructPage& page) {
  if (!(page.compound() & 1)) return pfn;
  return array.head_of(pfn, page.compound()).value_or(pfn);
}

PageExplanation explain(const ReadingView& view, uint64_t pfn) {
  PageExplanation out;
  out.pfn = out.head = pfn;
  const auto own = view.array.at(pfn);
  if (!own) return out;
  out.has_struct_page = true;
  out.head = head_frame(view.array, pfn, *own);
  const StructPage page = view.array.at(out.head).value_or(*own);
  out.flags = page.flags();
  out.flag_names = names_of(out.flags, view.layout.page.flag);
  out.refcount = page.refcount(), out.type_word = page.type_word();
  out.mapping = page.mapping(), out.index = page.index() + (pfn - out.head),
  out.private_data = page.private_data();
  const bool in_cache =
      is_file_mapping(out.mapping) && page.has(view.layout.page.flag.lru | view.layout.page.flag.unevictable);
  if (in_cache) out.file = describe_file(view.memory, view.layout, out.mapping);
  return out;
}

}  // namespace

std::vector<PageExplanation> explain_pages(const ReadingView& view, uint64_t first_pfn, uint64_t pages) {
  std::vector<PageExplanation> out;
  for (uint64_t i = 0; i < pages; i++) out.push_back(explain(view, first_pfn + i));
  return out;
}

std::vector<FileShare> largest_files(const ReadingView& view, size_t limit) {
  std::unordered_map<uint64_t, uint64_t> pages;  // by mapping: no more of them than pages
  for (uint64_t pfn = 0; pfn < view.classifications.size(); pfn++) {
    if (view.classifications[pfn].page_class != PageClass::clean_cache) continue;
    const auto page = view.array.at(pfn);
    if (!page) continue;
    const auto head = view.array.at(head_frame(view.array, pfn, *page));
    if (head) pages[head->mapping()]++;
  }
  std::vector<std::pair<uint64_t, uint64_t>> order(pages.begin(), pages.end());
  const size_t kept = std::min(limit, order.size());
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  std::vector<FileShare> out;
  for (size_t i = 0; i < kept; i++)
    out.push_back({order[i].second, describe_file(view.memory, view.layout, order[i].first)});
  return out;
}

}  // namespace pars
