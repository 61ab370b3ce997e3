#include "core/classify.hh"

#include <algorithm>

namespace pars {

namespace {

// Low bits of page.mapping (Linux include/linux/page-flags.h): anonymous, movable, both: KSM.
constexpr uint64_t kMappingAnon = 1, kMappingBits = 3;
constexpr uint64_t kKernelHalf = 1ull << 63;
constexpr uint32_t kMaxOrder = 18;  // 1 GiB
constexpr uint32_t kNotAFolio = UINT32_MAX;
constexpr int32_t kUnmapped = -1;

}  // namespace

const char* doubt_text(Doubt doubt) {
  switch (doubt) {
    case Doubt::none: return "";
    case Doubt::layout: return "this kernel's cache structures are not fully known (R7)";
    case Doubt::flags: return "page flags that are not those of an idle clean page";
    case Doubt::references: return "held by somebody besides the cache (R9)";
    case Doubt::private_state: return "private state without a proven recovery";
    case Doubt::file: return "its file";
    case Doubt::folio_order: return "large folio its mapping does not declare (R10)";
    case Doubt::not_in_tree: return "not in its mapping's tree (R5)";
    case Doubt::scattered: return "its pages are scattered over the image";
    case Doubt::recovery: return "its recovery would touch the image's head";
  }
  return "";
}

Classified Classifier::run() {
  out_.classes.assign(array_.end(), PageClass::kernel);
  assign_free();
  for (uint64_t pfn = 0; pfn < array_.end();) {
    if (out_.classes[pfn] == PageClass::free_page || !array_.at(pfn)) {
      pfn++;
      continue;
    }
    const uint32_t order = whole_folio(pfn);
    const uint64_t pages = order == kNotAFolio ? 1 : 1ull << order;
    if (order != kNotAFolio) assign(pfn, pages, folio_class(pfn, order));
    pfn += pages;
  }
  return std::move(out_);
}

void Classifier::assign_free() {
  for (const FreeBlock& block : free_.blocks) assign(block.pfn, 1ull << block.order, PageClass::free_page);
}

void Classifier::assign(uint64_t pfn, uint64_t pages, PageClass c) {
  const uint64_t end = std::min(pfn + pages, array_.end());
  std::fill(out_.classes.begin() + pfn, out_.classes.begin() + end, c);
}

/// The order of the folio that begins at `pfn`, 0 for a single page; kNotAFolio for a stray tail or a head whose tails do not all
/// point back at it.
uint32_t Classifier::whole_folio(uint64_t pfn) const {
  const StructPage head = *array_.at(pfn);
  if (head.compound() & 1) return kNotAFolio;
  if (!head.has(page_.flag.head)) return 0;
  const uint64_t order_chunk = pfn + page_.order_at / kStructPageBytes;
  auto holder = array_.at(order_chunk);
  if (!holder) return kNotAFolio;
  const uint32_t order = holder->bytes()[page_.order_at % kStructPageBytes];
  if (order == 0 || order > kMaxOrder || pfn & ((1ull << order) - 1)) return kNotAFolio;
  for (uint64_t tail = pfn + 1; tail < pfn + (1ull << order); tail++) {
    auto page = array_.at(tail);
    if (!page || array_.head_of(tail, page->compound()) != pfn) return kNotAFolio;
  }
  return order;
}

PageClass Classifier::folio_class(uint64_t pfn, uint32_t order) {
  const StructPage page = *array_.at(pfn);
  const uint32_t type = page.type_word();
  if (page_.offline.matches(type)) return PageClass::offline;
  if (page_.table.matches(type)) return PageClass::page_table;
  if (page_.slab.matches(type) || page.has(page_.flag.slab)) return PageClass::slab;
  if (page_.buddy.matches(type) || page.has(page_.flag.reserved)) return PageClass::kernel;
  const uint64_t mapping = page.mapping();
  if (mapping & kMappingAnon) return page.refcount() > 0 ? PageClass::anon : PageClass::kernel;
  const bool in_cache = (mapping & kMappingBits) == 0 && (mapping & kKernelHalf);
  if (!in_cache || page.refcount() <= 0 || !(page.has(page_.flag.lru) || page.has(page_.flag.unevictable))) return PageClass::kernel;
  if (page.has(page_.flag.swapbacked)) return PageClass::shmem;
  return file_cache_class(pfn, order);
}

PageClass Classifier::file_cache_class(uint64_t pfn, uint32_t order) {
  const StructPage page = *array_.at(pfn);
  if (page.has(page_.flag.dirty | page_.flag.writeback)) return PageClass::dirty_cache;
  if (!unmapped(pfn, order)) return PageClass::mapped_cache;
  const Doubt why = doubt(pfn, order);
  if (why == Doubt::none) return PageClass::clean_cache;
  out_.doubts[static_cast<size_t>(why)] += 1ull << order;
  return PageClass::other_cache;
}

bool Classifier::unmapped(uint64_t pfn, uint32_t order) const {
  const StructPage head = *array_.at(pfn);
  if (head.mapcount() != kUnmapped) return false;
  if (order == 0) return true;
  const auto count_at = [&](uint32_t offset) {
    return load_le<int32_t>(array_.at(pfn + offset / kStructPageBytes)->bytes() + offset % kStructPageBytes);
  };
  if (!page_.entire_mapcount || count_at(*page_.entire_mapcount) != kUnmapped) return false;
  if (page_.large_mapcount) return count_at(*page_.large_mapcount) == kUnmapped;
  for (uint64_t tail = pfn + 1; tail < pfn + (1ull << order); tail++)
    if (array_.at(tail)->mapcount() != kUnmapped) return false;
  return true;
}

bool Classifier::proven_large(uint64_t pfn, uint32_t order, const CachedFile& file) const {
  return order == 0 || (order <= file.max_order && array_.at(pfn)->has(page_.flag.head));
}

/// Every condition under which the folio is safe to lose, in the order of cost. Docs: docs/safety.md, R8 to R14.
Doubt Classifier::doubt(uint64_t pfn, uint32_t order) {
  if (!cache_) return Doubt::layout;
  const StructPage page = *array_.at(pfn);
  const PageFlags& f = page_.flag;
  const uint64_t forbidden = f.dirty | f.writeback | f.locked | f.swapbacked | f.swapcache | f.unevictable | f.mlocked | f.slab |
                             f.private_2 | f.hwpoison | f.reserved | f.error | f.checked;
  const uint64_t required = f.lru | f.uptodate;
  if ((page.flags() & required) != required || page.has(forbidden)) return Doubt::flags;
  const bool has_private = page.has(f.private_data);
  if (page.refcount() != (1 << order) + (has_private ? 1 : 0)) return Doubt::references;
  if (has_private) return Doubt::private_state;
  const CachedFile& file = cache_->file(page.mapping());
  if (file.doubt != FileDoubt::none) {
    out_.file_doubts[static_cast<size_t>(file.doubt)] += 1ull << order;
    return Doubt::file;
  }
  if (!proven_large(pfn, order, file)) return Doubt::folio_order;
  out_.cache_folios++;
  if (!cache_->in_tree(pfn)) {
    out_.cache_folios_unproven++;
    return Doubt::not_in_tree;
  }
  return plan_loss(pfn, order);
}

/// Works out the recovery. A folio lies in one stripe or across one boundary; a live save can scatter it, and then it stays.
Doubt Classifier::plan_loss(uint64_t pfn, uint32_t order) {
  uint64_t first = UINT64_MAX, last = 0;
  for (uint64_t i = pfn; i < pfn + (1ull << order); i++) {
    const PageLocation at = ram_.location(i * kPageSize);
    if (at == kZeroPage) continue;
    first = std::min(first, at), last = std::max(last, at);
  }
  if (last != 0 && last - first > uint64_t{kStripePages} / 2 * kPageSize) return Doubt::scattered;
  const uint32_t first_write = out_.recovery.writes.size();
  if (!planner_.plan(pfn, out_.recovery.writes)) {
    out_.recovery.writes.resize(first_write);
    return Doubt::recovery;
  }
  if (last == 0) {  // all zero pages: nothing that could be lost
    out_.recovery.writes.resize(first_write);
    return Doubt::none;
  }
  const uint32_t writes = static_cast<uint32_t>(out_.recovery.writes.size()) - first_write;
  out_.recovery.folios.push_back({first, last, first_write, writes});
  return Doubt::none;
}

}  // namespace pars
