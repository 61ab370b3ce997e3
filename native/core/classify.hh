// struct page -> PageClass, and why. When in doubt a page is critical.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "core/free_memory.hh"
#include "core/page_array.hh"
#include "core/page_cache.hh"
#include "core/page_class.hh"
#include "core/recovery_plan.hh"

namespace pars {

/// Why a clean, unmapped page-cache folio is `other-cache`. The first that applies.
enum class Doubt : uint8_t { none, layout, flags, references, private_state, file, folio_order, not_in_tree, scattered, recovery };
inline constexpr size_t kDoubts = 10;
const char* doubt_text(Doubt doubt);

struct Classified {
  std::vector<PageClass> classes;            ///< by page frame number
  Recovery recovery;
  std::array<uint64_t, kDoubts> doubts{};    ///< pages of other-cache, by reason
  std::array<uint64_t, 16> file_doubts{};    ///< those of Doubt::file, by FileDoubt
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
  PageClass folio_class(uint64_t pfn, uint32_t order);
  PageClass file_cache_class(uint64_t pfn, uint32_t order);
  Doubt doubt(uint64_t pfn, uint32_t order);
  bool unmapped(uint64_t pfn, uint32_t order) const;
  bool proven_large(uint64_t pfn, uint32_t order, const CachedFile& file) const;
  uint32_t whole_folio(uint64_t pfn) const;
  Doubt plan_loss(uint64_t pfn, uint32_t order);
  void assign(uint64_t pfn, uint64_t pages, PageClass c);
  void assign_free();

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
