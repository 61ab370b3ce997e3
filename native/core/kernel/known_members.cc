// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/known_members.hh"

#include <algorithm>
#include <span>

#include "core/kernel/kernel_layout.hh"

namespace pars {

namespace {

using Names = std::span<const std::string_view>;

// Met in the BTF of Debian's kernels from 5.10 to 7.3 (test/integration/kernel-layouts.test.ts looks at them
// all), or, where a line says so, in the sources of kernels between that Debian does not offer. Each is one
// that no recovery has to know, or that a rule asks for.

constexpr std::string_view kAddressSpace[] = {
    "a_ops",
    "flags",
    "gfp_mask",
    "host",
    "i_mmap",
    "i_mmap_rwsem",
    "i_mmap_writable",
    "i_pages",
    "i_private_data",
    "i_private_list",
    "i_private_lock",
    "invalidate_lock",
    "nrexceptional",
    "nrpages",
    "private_data",
    "private_list",
    "private_lock",
    "wb_err",
    "writeback_index",
    "nr_thps",                // CONFIG_READ_ONLY_THP_FOR_FS: R10
    "i_pages_delete_seqcnt",  // R14 by itself
};

/// Of the first struct page. `page` is all of it by its older names.
constexpr std::string_view kFolio[] = {
    "__filler",
    "_mapcount",
    "_refcount",
    "flags",
    "index",
    "lru",
    "mapping",
    "memcg_data",
    "migrate_info",
    "mlock_count",
    "page",
    "pgmap",
    "private",
    "share",
    "swap",
    "_last_cpupid",
    "_unused_slab_obj_exts",
    "virtual",  // by configuration
};

constexpr std::string_view kBufferHead[] = {
    "b_assoc_buffers", "b_assoc_map", "b_bdev",  "b_blocknr",   "b_count",
    "b_data",          "b_end_io",    "b_folio", "b_mmb",       "b_page",
    "b_private",       "b_size",      "b_state", "b_this_page", "b_uptodate_lock",
};

constexpr std::string_view kIomapPage[] = {"read_bytes_pending", "uptodate", "uptodate_lock",
                                           "write_bytes_pending"};
constexpr std::string_view kIomapFolioState[] = {"read_bytes_pending", "state", "state_lock",
                                                 "write_bytes_pending"};
constexpr std::string_view kBtrfsFolioState[] = {"bitmaps", "eb_refs", "lock", "nr_locked"};

constexpr std::string_view kMappingFlags[] = {
    "AS_EIO",
    "AS_ENOSPC",
    "AS_EXITING",
    "AS_FOLIO_ORDER_BITS",
    "AS_FOLIO_ORDER_MAX",
    "AS_FOLIO_ORDER_MIN",
    "AS_INACCESSIBLE",
    "AS_KERNEL_FILE",
    "AS_LARGE_FOLIO_SUPPORT",
    "AS_MM_ALL_LOCKS",
    "AS_NO_DATA_INTEGRITY",
    "AS_NO_WRITEBACK_TAGS",
    "AS_RELEASE_ALWAYS",
    "AS_STABLE_WRITES",
    "AS_THP_SUPPORT",
    "AS_UNEVICTABLE",
    "AS_WRITEBACK_MAY_DEADLOCK_ON_RECLAIM",
    "AS_UNMOVABLE",  // 6.8 to 6.10
};

constexpr std::string_view kPageFlags[] = {
    "PG_active",
    "PG_anon_exclusive",
    "PG_arch_1",
    "PG_arch_2",
    "PG_checked",
    "PG_dirty",
    "PG_double_map",
    "PG_dropbehind",
    "PG_error",
    "PG_foreign",
    "PG_fscache",
    "PG_has_hwpoisoned",
    "PG_head",
    "PG_hwpoison",
    "PG_idle",
    "PG_isolated",
    "PG_large_rmappable",
    "PG_locked",
    "PG_lru",
    "PG_mappedtodisk",
    "PG_mlocked",
    "PG_movable_ops",
    "PG_movable_ops_isolated",
    "PG_owner_2",
    "PG_owner_priv_1",
    "PG_partially_mapped",
    "PG_pinned",
    "PG_private",
    "PG_private_2",
    "PG_readahead",
    "PG_reclaim",
    "PG_referenced",
    "PG_reported",
    "PG_reserved",
    "PG_savepinned",
    "PG_slab",
    "PG_slob_free",
    "PG_swapbacked",
    "PG_swapcache",
    "PG_uncached",
    "PG_unevictable",
    "PG_uptodate",
    "PG_vmemmap_self_hosted",
    "PG_waiters",
    "PG_workingset",
    "PG_writeback",
    "PG_xen_remapped",
    "PG_young",
    "__NR_PAGEFLAGS",
    "PG_arch_3",
    "PG_hugetlb",
    "PG_skip_kasan_poison",  // 5.14 to 6.10
};

constexpr std::string_view kBufferBits[] = {
    "BH_Async_Read",   "BH_Async_Write", "BH_Boundary", "BH_Defer_Completion", "BH_Delay",    "BH_Dirty",
    "BH_Lock",         "BH_Mapped",      "BH_Meta",     "BH_Migrate",          "BH_New",      "BH_Prio",
    "BH_PrivateStart", "BH_Quiet",       "BH_Req",      "BH_Unwritten",        "BH_Uptodate", "BH_Write_EIO",
};

struct Known {
  const char* type;
  Names names;
  uint32_t bytes = UINT32_MAX;  ///< of a struct: what lies beyond is not looked at
};

constexpr Known kStructs[] = {{"address_space", kAddressSpace},
                              {"folio", kFolio, kStructPageBytes},
                              {"buffer_head", kBufferHead},
                              {"iomap_page", kIomapPage},
                              {"iomap_folio_state", kIomapFolioState}};
constexpr Known kEnums[] = {{"mapping_flags", kMappingFlags},
                            {"pageflags", kPageFlags},
                            {"bh_state_bits", kBufferBits}};
constexpr Known kBtrfs = {"btrfs_folio_state", kBtrfsFolioState};

/// Room that Red Hat, SUSE and Android leave in structs for later, by what they call it.
bool is_padding(std::string_view name) {
  return name.empty() || name.find("kabi_reserved") != name.npos || name.find("kabi_padding") != name.npos ||
         name.starts_with("rh_reserved");
}

std::optional<std::string> first_unknown(const Known& known,
                                         const std::optional<std::vector<BtfName>>& names) {
  if (!names) return std::string(known.type) + ", whose members cannot be told";
  const auto is_known = [&](const BtfName& m) {
    return m.offset >= known.bytes || is_padding(m.name) ||
           std::find(known.names.begin(), known.names.end(), m.name) != known.names.end();
  };
  const auto unknown = std::find_if_not(names->begin(), names->end(), is_known);
  if (unknown == names->end()) return std::nullopt;
  return std::string(known.type) + "." + std::string(unknown->name);
}

}  // namespace

std::optional<std::string> unknown_member(const Btf& kernel) {
  for (const Known& known : kStructs)
    if (auto unknown = first_unknown(known, kernel.members(known.type))) return unknown;
  for (const Known& known : kEnums)
    if (auto unknown = first_unknown(known, kernel.enumerators(known.type))) return unknown;
  return std::nullopt;
}

std::optional<std::string> unknown_btrfs_member(const Btf& own) {
  return first_unknown(kBtrfs, own.members(kBtrfs.type));
}

}  // namespace pars
