// SPDX-License-Identifier: Apache-2.0
// One page, explained: what its struct page holds, and the file it belongs to. And the files that hold most
// of the clean cache.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/pages/cached_file.hh"
#include "core/pages/reading_view.hh"

namespace pars {

struct PageExplanation {
  uint64_t pfn = 0;
  bool has_struct_page = false;
  uint64_t flags = 0;
  std::vector<const char*> flag_names;  ///< those the rules know, without "PG_"
  int32_t refcount = 0;
  uint32_t type_word = 0;  ///< _mapcount, or the page's type
  uint64_t mapping = 0, index = 0, private_data = 0;
  uint64_t head = 0;                    ///< of its compound page; its own pfn when it is none's tail
  std::optional<CachedFileFacts> file;  ///< for a page of the file cache
};

std::vector<PageExplanation> explain_pages(const ReadingView& view, uint64_t first_pfn, uint64_t pages);

struct FileShare {
  uint64_t clean_pages = 0;
  CachedFileFacts file;
};

/// The files with most clean-cache pages, the largest first.
std::vector<FileShare> largest_files(const ReadingView& view, size_t limit);

}  // namespace pars
