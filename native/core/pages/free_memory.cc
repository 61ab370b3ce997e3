// SPDX-License-Identifier: Apache-2.0
#include "core/pages/free_memory.hh"

#include <algorithm>
#include <map>

namespace pars {

namespace {

constexpr uint64_t kMaxNodes = 1024;
constexpr uint64_t kMaxFree =
    1ull << 40;  // blocks of one order; a counter beyond is wrong, and adds up without overflow

struct Zone {
  uint64_t va;
  uint64_t start, end;  // page frames
};

std::vector<uint64_t> node_addresses(const KernelMemory& memory, const Vmcoreinfo& info) {
  if (auto single = info.symbol("contig_page_data")) return {*single};
  std::vector<uint64_t> nodes;
  auto table = info.symbol("node_data");
  const uint64_t count = std::min(info.length("node_data").value_or(0), kMaxNodes);
  for (uint64_t i = 0; table && i < count; i++)
    if (uint64_t va = memory.u64(*table + 8 * i).value_or(0)) nodes.push_back(va);
  return nodes;
}

std::vector<Zone> read_zones(const KernelMemory& memory, const Vmcoreinfo& info, const ZoneLayout& z) {
  std::vector<Zone> zones;
  for (uint64_t node : node_addresses(memory, info)) {
    for (uint32_t i = 0; i < std::min(z.zones, 16u); i++) {
      const uint64_t va = node + z.node_zones + uint64_t{i} * z.zone_bytes;
      const uint64_t start = memory.u64(va + z.start_pfn).value_or(0),
                     spanned = memory.u64(va + z.spanned_pages).value_or(0);
      if (spanned != 0 && start + spanned > start) zones.push_back({va, start, start + spanned});
    }
  }
  return zones;
}

/// A block the page array marks at `pfn`: aligned, every page in it unused and off the LRU.
bool is_clean_block(const KernelLayout& layout, const PageArray& array, uint64_t pfn, uint64_t order) {
  if (order >= layout.zone.orders || order > 20 || pfn & ((1ull << order) - 1)) return false;
  for (uint64_t i = pfn; i < pfn + (1ull << order); i++) {
    auto page = array.at(i);
    if (!page || page->refcount() != 0 || page->has(layout.page.flag.lru)) return false;
    if (i != pfn && layout.page.buddy.matches(page->type_word())) return false;
  }
  return true;
}

/// All free blocks that the page array marks; nullopt when more than `slack` marks are not what they say.
std::optional<std::vector<FreeBlock>> marked_blocks(const KernelLayout& layout, const PageArray& array,
                                                    uint64_t slack, std::string& problem) {
  std::vector<FreeBlock> blocks;
  uint64_t odd = 0;
  for (uint64_t pfn = 0; pfn < array.end();) {
    auto page = array.at(pfn);
    if (!page || !layout.page.buddy.matches(page->type_word())) {
      pfn++;
      continue;
    }
    const uint64_t order = page->private_data();
    if (is_clean_block(layout, array, pfn, order)) {
      blocks.push_back({pfn, static_cast<uint32_t>(order)});
      pfn += 1ull << order;
      continue;
    }
    if (++odd > slack) {
      problem = "the free block at frame " + std::to_string(pfn) + " is misaligned or holds pages in use";
      return std::nullopt;
    }
    pfn++;
  }
  return blocks;
}

using Counts = std::map<std::pair<size_t, uint32_t>, int64_t>;  // (zone, order) -> blocks

/// The zones of blocks that are asked for in ascending order. Zones that overlap (movable beside normal)
/// would make the sum ambiguous, so a block in two of them is in none.
class ZoneFinder {
 public:
  /// `zones`: ascending by start.
  explicit ZoneFinder(const std::vector<Zone>& zones) : zones_(zones) {}
  std::optional<size_t> find(const FreeBlock& block) {
    while (next_ < zones_.size() && zones_[next_].start <= block.pfn) begun_.push_back(next_++);
    std::erase_if(begun_, [&](size_t i) { return zones_[i].end <= block.pfn; });
    std::optional<size_t> found;
    for (size_t i : begun_) {
      if (block.pfn + (1ull << block.order) > zones_[i].end) continue;
      if (found) return std::nullopt;
      found = i;
    }
    return found;
  }

 private:
  const std::vector<Zone>& zones_;
  std::vector<size_t> begun_;  // and not yet ended
  size_t next_ = 0;
};

/// Frames met on the free lists of one zone and order: each must be a marked block of that order inside the
/// zone.
struct Lists {
  const KernelMemory& memory;
  const KernelLayout& layout;
  const PageArray& array;
  uint64_t steps_left;  ///< over all lists: a block is on one

  /// Marks listed blocks; false when a list leads out of the page array or does not end.
  bool walk(uint64_t list_head, uint32_t order, const Zone& zone, std::vector<bool>& listed,
            const std::vector<FreeBlock>& blocks) {
    for (uint64_t node = memory.u64(list_head).value_or(0); node != list_head;) {
      auto pfn = array.frame(node - layout.page.list);
      if (!pfn || *pfn < zone.start || *pfn >= zone.end || steps_left-- == 0) return false;
      auto at = std::lower_bound(blocks.begin(), blocks.end(), *pfn,
                                 [](const FreeBlock& b, uint64_t p) { return b.pfn < p; });
      if (at != blocks.end() && at->pfn == *pfn && at->order == order) listed[at - blocks.begin()] = true;
      node = array.at(*pfn)->list_next();
    }
    return true;
  }
};

uint64_t distance(const Counts& a, const Counts& b) {
  uint64_t apart = 0;
  Counts difference = a;
  for (const auto& [key, count] : b) difference[key] -= count;
  for (const auto& [key, count] : difference) apart += count < 0 ? -count : count;
  return apart;
}

FreeMemory refuse(std::string why) { return {{}, 0, std::move(why)}; }

}  // namespace

FreeMemory read_free_memory(const KernelMemory& memory, const Vmcoreinfo& info, const KernelLayout& layout,
                            const PageArray& array, uint64_t slack) {
  std::string problem;
  auto blocks = marked_blocks(layout, array, slack, problem);
  if (!blocks) return refuse(problem);
  std::vector<Zone> zones = read_zones(memory, info, layout.zone);
  if (zones.empty()) return refuse("the node data leads to no memory zone");
  std::sort(zones.begin(), zones.end(), [](const Zone& a, const Zone& b) { return a.start < b.start; });
  ZoneFinder finder(zones);
  Counts marked, counted;
  for (const FreeBlock& block : *blocks) {
    auto zone = finder.find(block);
    if (!zone)
      return refuse("the free block at frame " + std::to_string(block.pfn) + " lies in no zone, or in two");
    marked[{*zone, block.order}]++;
  }
  std::vector<bool> listed(blocks->size(), false);
  Lists lists{memory, layout, array, 2 * (blocks->size() + slack)};
  for (size_t i = 0; i < zones.size(); i++) {
    for (uint32_t order = 0; order < layout.zone.orders; order++) {
      const uint64_t area =
          zones[i].va + layout.zone.free_area + uint64_t{order} * layout.zone.free_area_bytes;
      if (auto n = memory.u64(area + layout.zone.nr_free).value_or(0))
        counted[{i, order}] = std::min(n, kMaxFree);
      for (uint32_t type = 0; type < layout.zone.lists; type++)
        if (!lists.walk(area + 16 * type, order, zones[i], listed, *blocks))
          return refuse("a kernel free list is corrupt");
    }
  }
  if (const uint64_t apart = distance(marked, counted); apart > slack)
    return refuse("free blocks and the zones' counters are " + std::to_string(apart) + " apart");
  FreeMemory out;
  uint64_t unlisted = 0;
  for (size_t i = 0; i < blocks->size(); i++) {
    if (!listed[i]) {
      unlisted++;
      continue;
    }
    out.blocks.push_back((*blocks)[i]);
    out.pages += 1ull << (*blocks)[i].order;
  }
  if (unlisted > slack) return refuse(std::to_string(unlisted) + " free blocks are on no free list");
  return out;
}

}  // namespace pars
