// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/kernel_layout.hh"

#include <tuple>

#include "core/kernel/known_members.hh"

namespace pars {

namespace {

constexpr uint32_t kPageStructBytes = 64, kFolioBytes = 4 * kPageStructBytes;
constexpr uint32_t kMaxZones = 16, kMaxOrders = 32, kMaxLists = 32;

/// Asks BTF for names and remembers the first one that is missing, so that a layout is read in one breath and
/// judged once. A name that a kernel may lack counts as missing, too, when its copies do not agree: then
/// nothing tells whether it has it.
class Finder {
 public:
  explicit Finder(const Btf& btf) : btf_(btf) {}

  uint32_t size(const char* name) { return need(btf_.struct_size(name), std::string("struct ") + name); }
  bool has_struct(const char* name) {
    return maybe_found(btf_.struct_size(name), std::string("struct ") + name).has_value();
  }
  std::optional<BtfMember> maybe(const char* type, const char* path) {
    return maybe_found(btf_.member(type, path), path_of(type, path));
  }
  BtfMember member(const char* type, const char* path) {
    return need(btf_.member(type, path), path_of(type, path));
  }
  uint32_t offset(const char* type, const char* path) { return member(type, path).offset; }
  /// The first of two names that a field has had.
  uint32_t offset(const char* type, const char* path, const char* other_type, const char* other) {
    if (auto at = maybe_offset(type, path)) return *at;
    return offset(other_type, other);
  }
  std::optional<uint32_t> maybe_offset(const char* type, const char* path) {
    auto m = maybe(type, path);
    return m ? std::optional(m->offset) : std::nullopt;
  }
  uint64_t maybe_bit(const char* type, const char* name) {
    auto v = enumerator(type, name);
    return v && *v >= 0 && *v < 64 ? 1ull << *v : 0;
  }
  uint64_t bit(const char* type, const char* name) {
    const uint64_t mask = maybe_bit(type, name);
    if (mask == 0) miss(name);
    return mask;
  }
  std::optional<int64_t> enumerator(const char* type, const char* name) {
    return maybe_found(btf_.enumerator(type, name), name);
  }
  bool has_enum(const char* name) const { return btf_.has_enum(name); }
  void miss(const std::string& name) {
    if (missing_.empty()) missing_ = name;
  }
  const std::string& missing() const { return missing_; }

 private:
  static std::string path_of(const char* type, const char* path) { return std::string(type) + "." + path; }
  template <class T>
  std::optional<T> maybe_found(const BtfAnswer<T>& answer, const std::string& name) {
    if (answer.is_ambiguous()) miss("one meaning of " + name);
    return answer ? std::optional(*answer) : std::nullopt;
  }
  template <class T>
  T need(const BtfAnswer<T>& answer, const std::string& name) {
    if (answer.is_absent()) miss(name);
    return maybe_found(answer, name).value_or(T{});
  }
  const Btf& btf_;
  std::string missing_;
};

PageFlags page_flags(Finder& f) {
  PageFlags p{};
  const auto need = [&](const char* name) { return f.bit("pageflags", name); };
  const auto may = [&](const char* name) { return f.maybe_bit("pageflags", name); };
  p.locked = need("PG_locked"), p.uptodate = need("PG_uptodate"), p.dirty = need("PG_dirty"),
  p.lru = need("PG_lru");
  p.head = need("PG_head"), p.writeback = need("PG_writeback"), p.reserved = need("PG_reserved");
  p.private_data = need("PG_private"), p.swapbacked = need("PG_swapbacked"),
  p.unevictable = need("PG_unevictable");
  p.swapcache = may("PG_swapcache"), p.mlocked = may("PG_mlocked"), p.hwpoison = may("PG_hwpoison");
  p.private_2 = may("PG_private_2"), p.error = may("PG_error"), p.checked = may("PG_checked"),
  p.slab = may("PG_slab");
  p.has_hwpoisoned = may("PG_has_hwpoisoned");
  return p;
}

TypeMark whole_word(std::optional<int64_t> value) {
  if (!value) return {};
  return {0xffffffff, static_cast<uint32_t>(*value)};
}

/// Page types as numbers in the top byte (enum pagetype, PGTY_*).
void numbered_types(Finder& f, PageLayout& page) {
  const auto mark = [&](const char* name) {
    auto v = f.enumerator("pagetype", name);
    return v ? TypeMark{0xff000000, static_cast<uint32_t>(*v) << 24} : TypeMark{};
  };
  page.buddy = mark("PGTY_buddy"), page.offline = mark("PGTY_offline"), page.table = mark("PGTY_table");
  page.slab = mark("PGTY_slab"), page.hugetlb = mark("PGTY_hugetlb");
}

/// Page types as single inverted bits, which VMCOREINFO tells. It tells nothing of PG_table: its bit moved
/// from 0x400 to 0x200 when kmem pages became a flag of memcg_data (commit 18b2db3b0385), which BTF shows by
/// that enum.
void inverted_types(const Vmcoreinfo& info, PageLayout& page) {
  page.buddy = whole_word(info.number("PAGE_BUDDY_MAPCOUNT_VALUE"));
  page.offline = whole_word(info.number("PAGE_OFFLINE_MAPCOUNT_VALUE"));
  page.slab = whole_word(info.number("PAGE_SLAB_MAPCOUNT_VALUE"));
}

/// What BTF says of struct page is read blindly later, a page at a time: it must lie inside, whatever the
/// guest says.
void check_bounds(Finder& f, const PageLayout& page) {
  for (uint32_t at : {page.flags, page.mapping, page.index, page.private_data, page.list, page.compound})
    if (at > kPageStructBytes - 8) f.miss("a struct page of 64 bytes");
  for (uint32_t at : {page.refcount, page.mapcount})
    if (at > kPageStructBytes - 4) f.miss("a struct page of 64 bytes");
  for (std::optional<uint32_t> at : {page.large_mapcount, page.entire_mapcount})
    if (at && (*at >= kFolioBytes || *at % kPageStructBytes > kPageStructBytes - 4))
      f.miss("a folio of four struct pages");
  if (page.order_at >= kFolioBytes) f.miss("a folio of four struct pages");
}

void folio_fields(Finder& f, PageLayout& page) {
  if (auto at = f.maybe_offset("folio", "_folio_order")) page.order_at = *at;
  else if (auto at = f.maybe_offset("page", "compound_order")) page.order_at = page.bytes + *at;
  else page.order_at = f.offset("folio", "_flags_1");
  page.large_mapcount = f.maybe_offset("folio", "_large_mapcount");
  page.entire_mapcount = f.maybe_offset("folio", "_entire_mapcount");
  if (!page.entire_mapcount) page.entire_mapcount = f.maybe_offset("folio", "_total_mapcount");
  if (!page.entire_mapcount)
    if (auto at = f.maybe_offset("page", "compound_mapcount")) page.entire_mapcount = page.bytes + *at;
}

PageLayout page_layout(Finder& f) {
  PageLayout page{};
  page.bytes = f.size("page");
  page.flags = f.offset("page", "flags");
  page.refcount = f.offset("page", "_refcount");
  page.mapcount = f.offset("page", "_mapcount");
  page.mapping = f.offset("folio", "mapping", "page", "mapping");
  page.index = f.offset("folio", "index", "page", "index");
  page.private_data = f.offset("page", "private");
  page.list = f.offset("page", "buddy_list", "page", "lru");
  page.compound = f.offset("page", "compound_info", "page", "compound_head");
  folio_fields(f, page);
  check_bounds(f, page);
  page.flag = page_flags(f);
  if (f.enumerator("pagetype", "PGTY_buddy")) numbered_types(f, page);
  else page.table = {0xffffffff, f.has_enum("page_memcg_data_flags") ? ~0x200u : ~0x400u};
  return page;
}

ZoneLayout zone_layout(Finder& f) {
  ZoneLayout z{};
  const BtfMember zones = f.member("pglist_data", "node_zones");
  z.node_zones = zones.offset, z.zones = zones.elements;
  z.zone_bytes = f.size("zone");
  z.start_pfn = f.offset("zone", "zone_start_pfn");
  z.spanned_pages = f.offset("zone", "spanned_pages");
  const BtfMember areas = f.member("zone", "free_area");
  z.free_area = areas.offset, z.orders = areas.elements;
  z.free_area_bytes = f.size("free_area");
  z.nr_free = f.offset("free_area", "nr_free");
  z.lists = f.member("free_area", "free_list").elements;
  if (z.zones > kMaxZones || z.orders > kMaxOrders || z.lists > kMaxLists)
    f.miss("zones with as many free lists as a kernel has");
  return z;
}

std::optional<uint32_t> order_max_shift(Finder& f) {
  auto max = f.enumerator("mapping_flags", "AS_FOLIO_ORDER_MAX");
  if (!max || *max < 0 || *max > 59) return std::nullopt;
  return static_cast<uint32_t>(*max);
}

/// A field that must have this size.
uint32_t sized(Finder& f, const char* type, const char* path, uint32_t bytes) {
  const BtfMember m = f.member(type, path);
  if (m.bytes != bytes) f.miss(std::string(type) + "." + path + " of " + std::to_string(bytes) + " bytes");
  return m.offset;
}

/// `fields` with what they found, or nothing when a name was missing.
template <class T, class Fields>
std::optional<T> all_or_none(const Btf& btf, Fields fields) {
  Finder f(btf);
  T layout = fields(f);
  return f.missing().empty() ? std::optional(layout) : std::nullopt;
}

BlockDevicesLayout block_devices_layout(Finder& f) {
  BlockDevicesLayout d{};
  d.holder = f.offset("block_device", "bd_holder");
  d.sb_inodes = f.offset("super_block", "s_inodes"), d.inode_link = f.offset("inode", "i_sb_list");
  d.sb_list = f.offset("super_block", "s_list");
  d.device_in_pair = f.offset("bdev_inode", "bdev"), d.inode_in_pair = f.offset("bdev_inode", "vfs_inode");
  return d;
}

CacheLayout cache_layout(Finder& f) {
  CacheLayout c{};
  c.folios = f.has_struct("folio");
  c.mapping_flags = f.offset("address_space", "flags");
  c.mapping_host = f.offset("address_space", "host");
  c.mapping_pages = f.offset("address_space", "i_pages.xa_head");
  c.mapping_wb_err = f.offset("address_space", "wb_err");
  c.mapping_nr_thps = f.maybe_offset("address_space", "nr_thps");
  c.delete_seqcnt = f.maybe("address_space", "i_pages_delete_seqcnt").has_value();
  c.node_shift = f.offset("xa_node", "shift");
  const BtfMember slots = f.member("xa_node", "slots");
  c.node_slots = slots.offset, c.node_fanout = slots.elements;
  c.inode_mode = f.offset("inode", "i_mode"), c.inode_flags = f.offset("inode", "i_flags");
  c.inode_sb = f.offset("inode", "i_sb"), c.inode_data = f.offset("inode", "i_data");
  c.inode_block_bits = f.offset("inode", "i_blkbits");
  c.sb_type = f.offset("super_block", "s_type"), c.sb_bdev = f.offset("super_block", "s_bdev");
  c.sb_info = f.offset("super_block", "s_fs_info"), c.sb_wb_err = sized(f, "super_block", "s_wb_err", 4);
  c.fs_name = f.offset("file_system_type", "name");
  c.bdev_disk = f.offset("block_device", "bd_disk"), c.disk_name = f.offset("gendisk", "disk_name");
  c.bdev_start = f.maybe_offset("block_device", "bd_start_sect");
  c.as_eio = f.bit("mapping_flags", "AS_EIO"), c.as_enospc = f.bit("mapping_flags", "AS_ENOSPC");
  c.as_unevictable = f.bit("mapping_flags", "AS_UNEVICTABLE");
  c.as_inaccessible = f.maybe_bit("mapping_flags", "AS_INACCESSIBLE");
  c.as_large_folios = f.maybe_bit("mapping_flags", "AS_LARGE_FOLIO_SUPPORT");
  c.as_order_max_shift = order_max_shift(f);
  if (c.node_fanout != 64 && c.node_fanout != 16) f.miss("xa_node.slots of 16 or 64");
  return c;
}

/// b_page and b_folio share their place since 6.2. What ties metadata to an inode is b_assoc_map, in 7.2
/// b_mmb.
BufferHeadLayout buffer_head_layout(Finder& f) {
  const char* type = "buffer_head";
  BufferHeadLayout b{};
  b.state = sized(f, type, "b_state", 8), b.this_page = sized(f, type, "b_this_page", 8),
  b.size = sized(f, type, "b_size", 8);
  b.folio = sized(f, type, f.maybe(type, "b_folio") ? "b_folio" : "b_page", 8);
  b.data = sized(f, type, "b_data", 8), b.private_data = sized(f, type, "b_private", 8);
  b.association = sized(f, type, f.maybe(type, "b_assoc_map") ? "b_assoc_map" : "b_mmb", 8);
  b.count = sized(f, type, "b_count", 4), b.lock = sized(f, type, "b_uptodate_lock", 4);
  b.uptodate = f.bit("bh_state_bits", "BH_Uptodate");
  if (b.uptodate > 0x80) f.miss("BH_Uptodate in the first byte of b_state");
  b.idle = b.uptodate | f.bit("bh_state_bits", "BH_Req") | f.bit("bh_state_bits", "BH_Mapped") |
           f.bit("bh_state_bits", "BH_Boundary");
  return b;
}

/// Dirty bits came with iomap_folio_state.state (commit 4ce02c679722); iomap_page had `uptodate` alone.
IomapLayout iomap_layout(Finder& f) {
  const bool with_dirty = f.maybe("iomap_folio_state", "state").has_value();
  const char* type = f.maybe("iomap_page", "uptodate") && !with_dirty ? "iomap_page" : "iomap_folio_state";
  IomapLayout i{};
  i.dirty_bits = with_dirty;
  i.read_pending = sized(f, type, "read_bytes_pending", 4),
  i.write_pending = sized(f, type, "write_bytes_pending", 4);
  i.lock = sized(f, type, with_dirty ? "state_lock" : "uptodate_lock", 4);
  i.state = f.offset(type, with_dirty ? "state" : "uptodate");
  return i;
}

PrivateLayout private_layout(const Btf& btf) {
  PrivateLayout p;
  p.buffer_head = all_or_none<BufferHeadLayout>(btf, buffer_head_layout);
  p.folios = btf.struct_size("folio").has_value();
  if (!p.folios) return p;
  p.iomap = all_or_none<IomapLayout>(btf, iomap_layout);
  return p;
}

/// Where VMCOREINFO and BTF both speak of a number and do not agree (R2, R3); empty when there is none.
std::string disagreement(const Vmcoreinfo& info, const PageLayout& page, const SectionLayout& section) {
  const std::tuple<std::optional<uint64_t>, uint32_t, const char*> both[] = {
      {info.size("page"), page.bytes, "SIZE(page)"},
      {info.offset("page.flags"), page.flags, "OFFSET(page.flags)"},
      {info.offset("page._refcount"), page.refcount, "OFFSET(page._refcount)"},
      {info.offset("page._mapcount"), page.mapcount, "OFFSET(page._mapcount)"},
      {info.offset("page.mapping"), page.mapping, "OFFSET(page.mapping)"},
      {info.offset("page.private"), page.private_data, "OFFSET(page.private)"},
      {info.size("mem_section"), section.section_bytes, "SIZE(mem_section)"},
      {info.offset("mem_section.section_mem_map"), section.section_mem_map,
       "OFFSET(mem_section.section_mem_map)"}};
  for (const auto& [told, found, what] : both)
    if (told && *told != found) return std::string("agreement of VMCOREINFO and BTF on ") + what;
  return "";
}

Disbelief lacks(const std::string& missing) { return Disbelief{"the kernel's BTF lacks " + missing}; }

}  // namespace

Believed<KernelLayout> layout_of_types(const Btf& btf) {
  Finder f(btf);
  KernelLayout k{};
  k.page = page_layout(f);
  k.zone = zone_layout(f);
  k.section = {f.size("mem_section"), f.offset("mem_section", "section_mem_map")};
  if (!f.missing().empty()) return lacks(f.missing());
  Finder cache(btf);
  k.cache = cache_layout(cache);
  k.cache->devices = all_or_none<BlockDevicesLayout>(btf, block_devices_layout);
  k.cache->unknown_member = unknown_member(btf).value_or("");
  k.cache->disks = resolve_disks(btf);
  k.cache->file_mapping = cache.maybe_offset("file", "f_mapping");
  if (!cache.missing().empty()) {
    k.cache.reset();
    k.cache_problem = "the kernel's BTF lacks " + cache.missing();
  }
  k.private_state = private_layout(btf);
  k.names = resolve_names(btf);
  return k;
}

Believed<KernelLayout> with_note(const KernelLayout& of_types, const Vmcoreinfo& info) {
  if (const std::string what = disagreement(info, of_types.page, of_types.section); !what.empty())
    return lacks(what);
  KernelLayout k = of_types;
  if (k.page.buddy.mask == 0) inverted_types(info, k.page);
  if (k.page.buddy.mask == 0)
    return lacks("the mark of free pages (PGTY_buddy or PAGE_BUDDY_MAPCOUNT_VALUE)");
  if (k.page.slab.mask == 0 && k.page.flag.slab == 0) return lacks("PG_slab");
  return k;
}

}  // namespace pars
