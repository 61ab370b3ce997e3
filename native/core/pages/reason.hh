// SPDX-License-Identifier: Apache-2.0
// Why a page is of its class: the first rule that decided. One page, one reason; reports and `pars explain`
// name it.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/pages/page_class.hh"

namespace pars {

enum class Reason : uint8_t {
  // Whole stretches of memory.
  not_introspected,
  not_guest_ram,
  segment_unproven,
  no_struct_page,
  // What the kernel and its processes use.
  stray_page,
  kernel_use,
  reserved,
  off_the_lists,
  page_type,
  anonymous,
  swap_backed,
  // Free memory.
  free_block,
  // File cache that must be kept.
  newer_than_disk,
  mapped,
  // Clean cache, by the kind of private state whose recovery makes its loss safe.
  plain,
  iomap_blocks,
  buffer_heads,
  btrfs_mark,
  btrfs_blocks,
  // Clean cache that is not proven.
  layout_unknown,
  unknown_member,
  busy_flags,
  references,
  private_unknown,
  private_busy,
  file_unreadable,
  delete_seqcnt,
  write_back_error,
  file_system_failed,
  pinned_mapping,
  not_regular,
  inode_flags,
  inode_kind,
  file_system_types,
  file_system,
  no_block_device,
  disk,
  disk_gone,
  disk_stack,
  read_only_thp,
  folio_order,
  not_in_tree,
  scattered,
  recovery_target,
  // What contradicts itself.
  claimed_twice,
};
inline constexpr size_t kReasons = static_cast<size_t>(Reason::claimed_twice) + 1;

/// Reasons of clean-cache: recoveries that were proven on running guests.
inline constexpr bool is_recipe(Reason reason) {
  return reason >= Reason::plain && reason <= Reason::btrfs_blocks;
}

struct ReasonFacts {
  const char* name;  ///< stable, kebab-case: what `--json` says
  const char* rule;  ///< of docs/safety.md, or empty
  const char* text;  ///< completes "this page is of its class because it is ..."
};
const ReasonFacts& facts_of(Reason reason);

/// What is said of one page.
struct Classification {
  PageClass page_class = PageClass::kernel;
  Reason reason = Reason::not_introspected;
  bool operator==(const Classification&) const = default;
};

/// Pages by class and reason.
using ReasonCounts = std::array<std::array<uint64_t, kReasons>, kPageClasses>;

}  // namespace pars
