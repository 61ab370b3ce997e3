// SPDX-License-Identifier: Apache-2.0
#include "core/pages/classify.hh"

#include <algorithm>

namespace pars {

namespace {

constexpr uint32_t kMaxOrder = 18;  // 1 GiB
constexpr uint32_t kNotAFolio = UINT32_MAX;
constexpr int32_t kUnmapped = -1;

}  // namespace

void Classifier::judge() {
  out_.classifications.assign(array_.end(), {PageClass::kernel, Reason::no_struct_page});
  assign_free();
  for (uint64_t pfn = 0; pfn < array_.end();) {
    if (out_.classifications[pfn].page_class == PageClass::free_page || !array_.at(pfn)) {
      pfn++;
      continue;
    }
    const uint32_t order = whole_folio(pfn);
    const uint64_t pages = order == kNotAFolio ? 1 : 1ull << order;
    Classification classification =
        order == kNotAFolio ? Classification{PageClass::kernel, Reason::stray_page} : judge_folio(pfn, order);
    if (claims_free(pfn, pages)) classification = {PageClass::kernel, Reason::claimed_twice};
    else if (classification.page_class == PageClass::clean_cache) losable_.push_back({pfn, order});
    assign(pfn, pages, classification);
    pfn += pages;
  }
}

Classified Classifier::plan(const std::vector<bool>& proven_segments) {
  condemn(proven_segments);
  plan_losses();
  sort_folios();
  return std::move(out_);
}

void Classifier::condemn(const std::vector<bool>& proven_segments) {
  for (size_t i = 0; i < ram_.segments().size(); i++) {
    const Segment& s = ram_.segments()[i];
    const uint64_t first = s.gpa / kPageSize, pages = s.bytes / kPageSize;
    if (!proven_segments[i] && first < array_.end())
      assign(first, pages, {PageClass::kernel, Reason::segment_unproven});
  }
}

/// A folio can reach over the end of a segment where two of them meet.
bool Classifier::may_lose(uint64_t pfn, uint32_t order) const {
  const auto first = out_.classifications.begin() + pfn,
             last = out_.classifications.begin() + std::min(pfn + (uint64_t{1} << order), array_.end());
  return std::all_of(first, last,
                     [](const Classification& v) { return v.page_class == PageClass::clean_cache; });
}

/// Only now, for a recovery may write into critical pages alone. A folio that has none turns critical, which
/// takes nothing from the others.
void Classifier::plan_losses() {
  for (const auto& [pfn, order] : losable_) {
    if (!may_lose(pfn, order)) {
      assign(pfn, 1ull << order, {PageClass::kernel, Reason::segment_unproven});
      continue;
    }
    const Reason reason = plan_loss(pfn, order);
    assign(pfn, 1ull << order, {is_recipe(reason) ? PageClass::clean_cache : PageClass::other_cache, reason});
  }
}

/// Page frames are met in the order of guest memory; a page that was sent again, or a block that was sent
/// late, lies later in the image.
void Classifier::sort_folios() {
  const auto by_payload = [](const FolioRecovery& a, const FolioRecovery& b) {
    return a.first_payload < b.first_payload;
  };
  std::sort(out_.recovery.folios.begin(), out_.recovery.folios.end(), by_payload);
}

void Classifier::assign_free() {
  for (const FreeBlock& block : free_.blocks)
    assign(block.pfn, 1ull << block.order, {PageClass::free_page, Reason::free_block});
}

/// A page cannot be of a folio and of a free block: one of the two is not what it says. Both are aligned to
/// their length and the folio's head is not free, so the block lies within the folio and loses its class with
/// it.
bool Classifier::claims_free(uint64_t pfn, uint64_t pages) const {
  const auto first = out_.classifications.begin() + pfn,
             last = out_.classifications.begin() + std::min(pfn + pages, array_.end());
  return std::any_of(first, last,
                     [](const Classification& v) { return v.page_class == PageClass::free_page; });
}

void Classifier::assign(uint64_t pfn, uint64_t pages, Classification classification) {
  const uint64_t end = std::min(pfn + pages, array_.end());
  std::fill(out_.classifications.begin() + pfn, out_.classifications.begin() + end, classification);
}

/// The order of the folio that begins at `pfn`, 0 for a single page; kNotAFolio for a stray tail or a head
/// whose tails do not all point back at it.
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

Classification Classifier::judge_folio(uint64_t pfn, uint32_t order) {
  const StructPage page = *array_.at(pfn);
  const uint32_t type = page.type_word();
  if (page_.offline.matches(type)) return {PageClass::offline, Reason::page_type};
  if (page_.table.matches(type)) return {PageClass::page_table, Reason::page_type};
  if (page_.slab.matches(type) || page.has(page_.flag.slab)) return {PageClass::slab, Reason::page_type};
  if (page_.buddy.matches(type)) return {PageClass::kernel, Reason::off_the_lists};
  if (page.has(page_.flag.reserved)) return {PageClass::kernel, Reason::reserved};
  const uint64_t mapping = page.mapping();
  if (page.refcount() <= 0) return {PageClass::kernel, Reason::off_the_lists};
  if (mapping & kMappingAnon) return {PageClass::anon, Reason::anonymous};
  if (!is_file_mapping(mapping)) return {PageClass::kernel, Reason::kernel_use};
  if (!page.has(page_.flag.lru | page_.flag.unevictable)) return {PageClass::kernel, Reason::off_the_lists};
  if (page.has(page_.flag.swapbacked)) return {PageClass::shmem, Reason::swap_backed};
  return judge_file_cache(pfn, order);
}

Classification Classifier::judge_file_cache(uint64_t pfn, uint32_t order) {
  const StructPage page = *array_.at(pfn);
  if (page.has(page_.flag.dirty | page_.flag.writeback))
    return {PageClass::dirty_cache, Reason::newer_than_disk};
  if (!unmapped(pfn, order)) return {PageClass::mapped_cache, Reason::mapped};
  const std::optional<Reason> why = doubt(pfn, order);
  return why ? Classification{PageClass::other_cache, *why}
             : Classification{PageClass::clean_cache, Reason::plain};
}

bool Classifier::unmapped(uint64_t pfn, uint32_t order) const {
  const StructPage head = *array_.at(pfn);
  if (head.mapcount() != kUnmapped) return false;
  if (order == 0) return true;
  const auto count_at =
      [&](uint32_t offset) {  // of a folio too short to have the field it is 0: mapped, for all we know
        auto holder = array_.at(pfn + offset / kStructPageBytes);
        if (!holder || offset / kStructPageBytes >= 1u << order) return 0;
        return load_le<int32_t>(holder->bytes() + offset % kStructPageBytes);
      };
  if (!page_.entire_mapcount || count_at(*page_.entire_mapcount) != kUnmapped) return false;
  if (page_.large_mapcount) return count_at(*page_.large_mapcount) == kUnmapped;
  for (uint64_t tail = pfn + 1; tail < pfn + (1ull << order); tail++)
    if (array_.at(tail)->mapcount() != kUnmapped) return false;
  return true;
}

/// A folio is counted in its head: a tail with a count of its own is not what it says.
bool Classifier::tails_unused(uint64_t pfn, uint32_t order) const {
  for (uint64_t tail = pfn + 1; tail < pfn + (1ull << order); tail++)
    if (array_.at(tail)->refcount() != 0) return false;
  return true;
}

/// A page of it that the hardware has lost is marked in its own struct page, and in the first tail.
bool Classifier::tails_poisoned(uint64_t pfn, uint32_t order) const {
  if (order > 0 && array_.at(pfn + 1)->has(page_.flag.has_hwpoisoned)) return true;
  for (uint64_t tail = pfn + 1; tail < pfn + (1ull << order); tail++)
    if (array_.at(tail)->has(page_.flag.hwpoison)) return true;
  return false;
}

bool Classifier::proven_large(uint64_t pfn, uint32_t order, const CachedFile& file) const {
  return order == 0 || (order <= file.max_order && array_.at(pfn)->has(page_.flag.head));
}

/// Every condition under which the folio is safe to lose, in the order of cost. Docs: docs/safety.md, R8 to
/// R14.
std::optional<Reason> Classifier::doubt(uint64_t pfn, uint32_t order) {
  if (!cache_) return Reason::layout_unknown;
  const StructPage page = *array_.at(pfn);
  const PageFlags& f = page_.flag;
  const uint64_t forbidden = f.dirty | f.writeback | f.locked | f.swapbacked | f.swapcache | f.unevictable |
                             f.mlocked | f.slab | f.private_2 | f.hwpoison | f.reserved | f.error | f.checked;
  const uint64_t required = f.lru | f.uptodate;
  if ((page.flags() & required) != required || page.has(forbidden)) {
    // The cache of a block device is never expendable, idle or not: that tells more.
    return cache_->file(page.mapping()).doubt == Reason::not_regular ? Reason::not_regular
                                                                     : Reason::busy_flags;
  }
  if (tails_poisoned(pfn, order)) return Reason::busy_flags;
  const bool has_private = page.has(f.private_data);
  if (page.refcount() != (1 << order) + (has_private ? 1 : 0) || !tails_unused(pfn, order))
    return Reason::references;
  const CachedFile& file = cache_->file(page.mapping());
  if (file.doubt) return file.doubt;
  if (!proven_large(pfn, order, file)) return Reason::folio_order;
  out_.cache_folios++;
  if (!cache_->in_tree(pfn)) {
    out_.cache_folios_unproven++;
    return Reason::not_in_tree;
  }
  return std::nullopt;
}

/// Works out the recovery. A folio lies in one stripe or across one boundary; a live save can scatter it, and
/// then it stays.
Reason Classifier::plan_loss(uint64_t pfn, uint32_t order) {
  uint64_t first = UINT64_MAX, last = 0;
  for (uint64_t i = pfn; i < pfn + (1ull << order); i++) {
    const PageLocation at = ram_.location(i * kPageSize);
    if (at == kZeroPage) continue;
    first = std::min(first, at), last = std::max(last, at);
  }
  if (last != 0 && last - first > uint64_t{kStripePages} / 2 * kPageSize) return Reason::scattered;
  const uint32_t first_write = out_.recovery.writes.size();
  const Reason reason = planner_.plan(pfn, order, cache_->file(array_.at(pfn)->mapping()),
                                      out_.classifications, out_.recovery.writes);
  if (!is_recipe(reason) || last == 0) {  // none; or all zero pages: nothing that could be lost
    out_.recovery.writes.resize(first_write);
    return reason;
  }
  const uint32_t writes = static_cast<uint32_t>(out_.recovery.writes.size()) - first_write;
  out_.recovery.folios.push_back({first, last, first_write, writes});
  return reason;
}

}  // namespace pars
