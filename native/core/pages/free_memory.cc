// SPDX-License-Identifier: Apache-2.0
#include "core/pages/free_memory.hh"

#include <algorithm>

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

/// All free blocks that the page array marks; none when more than `slack` marks are not what they say.
Believed<std::vector<FreeBlock>> marked_blocks(const KernelLayout& layout, const PageArray& array,
                                               uint64_t slack) {
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
    if (++odd > slack)
      return Disbelief{"the free block at frame " + std::to_string(pfn) +
                       " is misaligned or holds pages in use"};
    pfn++;
  }
  return blocks;
}

/// The zones' free lists against the blocks that the page array marks. Which zone a block is of, its list
/// says: zones may overlap, as movable memory and nodes do.
class Lists {
 public:
  Lists(const KernelMemory& memory, const KernelLayout& layout, const PageArray& array,
        const std::vector<FreeBlock>& blocks, uint64_t slack)
      : memory_(memory),
        layout_(layout),
        array_(array),
        blocks_(blocks),
        listed_(blocks.size(), false),
        steps_left_(2 * (blocks.size() + slack)) {}

  /// Follows the lists of a zone; false when one leads out of the zone or does not end.
  bool walk(const Zone& zone) {
    for (uint32_t order = 0; order < layout_.zone.orders; order++) {
      const uint64_t area = zone.va + layout_.zone.free_area + uint64_t{order} * layout_.zone.free_area_bytes;
      const uint64_t before = found_;
      for (uint32_t type = 0; type < layout_.zone.lists; type++)
        if (!walk_list(area + 16 * type, order, zone)) return false;
      const uint64_t counted = std::min(memory_.u64(area + layout_.zone.nr_free).value_or(0), kMaxFree),
                     met = found_ - before;
      apart_ += counted > met ? counted - met : met - counted;
    }
    return true;
  }
  /// Blocks by which the counters and the lists differ, over all zones and orders.
  uint64_t apart() const { return apart_; }
  bool is_listed(size_t block) const { return listed_[block]; }

 private:
  /// Counts the marked blocks of that order that are met for the first time.
  bool walk_list(uint64_t head, uint32_t order, const Zone& zone) {
    for (uint64_t node = memory_.u64(head).value_or(0); node != head;) {
      const auto pfn = array_.frame(node - layout_.page.list);
      if (!pfn || *pfn < zone.start || *pfn >= zone.end || steps_left_-- == 0) return false;
      const auto at = std::lower_bound(blocks_.begin(), blocks_.end(), *pfn,
                                       [](const FreeBlock& b, uint64_t p) { return b.pfn < p; });
      const bool marked =
          at != blocks_.end() && at->pfn == *pfn && at->order == order && *pfn + (1ull << order) <= zone.end;
      if (marked && listed_[at - blocks_.begin()]) return false;
      if (marked) listed_[at - blocks_.begin()] = true, found_++;
      node = array_.at(*pfn)->list_next();
    }
    return true;
  }

  const KernelMemory& memory_;
  const KernelLayout& layout_;
  const PageArray& array_;
  const std::vector<FreeBlock>& blocks_;
  std::vector<bool> listed_;
  uint64_t found_ = 0, apart_ = 0;
  uint64_t steps_left_;  // over all lists: a block is on one
};

}  // namespace

Believed<FreeMemory> read_free_memory(const KernelMemory& memory, const Vmcoreinfo& info,
                                      const KernelLayout& layout, const PageArray& array, uint64_t slack) {
  auto blocks = marked_blocks(layout, array, slack);
  if (!blocks) return Disbelief{blocks.why()};
  const std::vector<Zone> zones = read_zones(memory, info, layout.zone);
  if (zones.empty()) return Disbelief{"the node data leads to no memory zone"};
  Lists lists(memory, layout, array, *blocks, slack);
  for (const Zone& zone : zones)
    if (!lists.walk(zone)) return Disbelief{"a kernel free list is corrupt"};
  if (lists.apart() > slack)
    return Disbelief{"free lists and the zones' counters are " + std::to_string(lists.apart()) +
                     " blocks apart"};
  FreeMemory out;
  for (size_t i = 0; i < blocks->size(); i++) {
    if (!lists.is_listed(i)) continue;
    out.blocks.push_back((*blocks)[i]);
    out.pages += 1ull << (*blocks)[i].order;
  }
  const uint64_t unlisted = blocks->size() - out.blocks.size();
  if (unlisted > slack) return Disbelief{std::to_string(unlisted) + " free blocks are on no free list"};
  return out;
}

}  // namespace pars
