// SPDX-License-Identifier: Apache-2.0
#include "core/image/page_index.hh"

#include <sys/mman.h>

namespace pars {

PageIndex::~PageIndex() {
  if (data_) munmap(data_, size_ * sizeof(PageLocation));
}

bool PageIndex::reset(size_t pages, bool dense) {
  PageIndex old(std::move(*this));  // frees what was there
  if (pages == 0) return true;
  if (pages > SIZE_MAX / sizeof(PageLocation)) return false;
  // Not calloc: the kernel hands out zero pages one by one, and small blocks are few.
  void* at = mmap(nullptr, pages * sizeof(PageLocation), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return false;
  if (dense) (void)madvise(at, pages * sizeof(PageLocation), MADV_HUGEPAGE);
  data_ = static_cast<PageLocation*>(at);
  size_ = pages;
  return true;
}

}  // namespace pars
