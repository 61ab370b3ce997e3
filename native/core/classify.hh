// struct page -> PageClass, and why. When in doubt a page is critical.
#pragma once
#include <optional>
#include <vector>

#include "core/free_memory.hh"
#include "core/page_array.hh"
#include "core/page_cache.hh"
#include "core/reason.hh"
#include "core/recovery_plan.hh"

namespace pars {

struct Classified {
  std::vector<Verdict> verdicts;             ///< by page frame number
  Recovery recovery;
  uint64_t cache_folios = 0;                 ///< that met every condition but the tree's word
  uint64_t cache_folios_unproven = 0;        ///< of these, not found in their mapping's tree (R5)
};

class Classifier {
 public:
  Classifier(const KernelMemory& memory, const KernelLayout& layout, const PageArray& array, const FreeMemory& free, PageCache* cache,
             RecoveryPlanner planner)
      : ram_(memory.ram()), layout_(layout), page_(layout.page), array_(array), free_(free), cache_(cache), planner_(planner) {}

  Classified run();

 private:
  Verdict judge_folio(uint64_t pfn, uint32_t order);
  Verdict judge_file_cache(uint64_t pfn, uint32_t order);
  std::optional<Reason> doubt(uint64_t pfn, uint32_t order);
  bool unmapped(uint64_t pfn, uint32_t order) const;
  bool proven_large(uint64_t pfn, uint32_t order, const CachedFile& file) const;
  uint32_t whole_folio(uint64_t pfn) const;
  std::optional<Reason> plan_loss(uint64_t pfn, uint32_t order);
  void assign(uint64_t pfn, uint64_t pages, Verdict verdict);
  void assign_free();
  void sort_folios();

  const GuestRam& ram_;
  const KernelLayout& layout_;
  const PageLayout& page_;
  const PageArray& array_;
  const FreeMemory& free_;
  PageCache* cache_;  // nullptr when the kernel's cache structures are not known
  RecoveryPlanner planner_;
  Classified out_;
};

}  // namespace pars
