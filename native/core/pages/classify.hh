// SPDX-License-Identifier: Apache-2.0
// struct page -> PageClass, and why. When in doubt a page is critical.
#pragma once
#include <optional>
#include <vector>

#include "core/kernel/page_array.hh"
#include "core/pages/free_memory.hh"
#include "core/pages/page_cache.hh"
#include "core/pages/reason.hh"
#include "core/pages/recovery_plan.hh"

namespace pars {

struct Classified {
  std::vector<Classification> classifications;  ///< by page frame number
  Recovery recovery;
  uint64_t cache_folios = 0;           ///< that met every condition but the tree's word
  uint64_t cache_folios_unproven = 0;  ///< of these, not found in their mapping's tree (R5)
};

class Classifier {
 public:
  Classifier(const KernelMemory& memory, const PageArray& array, const FreeMemory& free, PageCache* cache,
             RecoveryPlanner planner)
      : ram_(memory.ram()),
        page_(array.layout()),
        array_(array),
        free_(free),
        cache_(cache),
        planner_(planner) {}

  /// The class of every page. What could be lost is left to `plan`.
  void judge();
  /// Turns the frames of segments that are not proven critical (R6), then works out the recoveries: none is
  /// for a page of theirs, none writes into one.
  Classified plan(const std::vector<bool>& proven_segments);

 private:
  void condemn(const std::vector<bool>& proven_segments);
  bool may_lose(uint64_t pfn, uint32_t order) const;
  Classification judge_folio(uint64_t pfn, uint32_t order);
  Classification judge_file_cache(uint64_t pfn, uint32_t order);
  std::optional<Reason> doubt(uint64_t pfn, uint32_t order);
  bool unmapped(uint64_t pfn, uint32_t order) const;
  bool tails_unused(uint64_t pfn, uint32_t order) const;
  bool tails_poisoned(uint64_t pfn, uint32_t order) const;
  bool proven_large(uint64_t pfn, uint32_t order, const CachedFile& file) const;
  uint32_t whole_folio(uint64_t pfn) const;
  void plan_losses();
  Reason plan_loss(uint64_t pfn, uint32_t order);
  void assign(uint64_t pfn, uint64_t pages, Classification classification);
  void assign_free();
  bool claims_free(uint64_t pfn, uint64_t pages) const;
  void sort_folios();

  const GuestRam& ram_;
  const PageLayout& page_;
  const PageArray& array_;
  const FreeMemory& free_;
  PageCache* cache_;  // nullptr when the kernel's cache structures are not known
  RecoveryPlanner planner_;
  std::vector<std::pair<uint64_t, uint32_t>>
      losable_;  ///< head and order of the folios whose recovery is still to be planned
  Classified out_;
};

}  // namespace pars
