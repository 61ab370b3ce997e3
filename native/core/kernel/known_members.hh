// SPDX-License-Identifier: Apache-2.0
// The few types that carry the proof of a clean page, member by member, as kernels have had them so far. A
// later kernel may put something beside them that says a second time that a page's contents are there, or
// that somebody reads it without a reference: a member that was never met makes clean cache critical (R14),
// until a guest of such a kernel was tried (docs/guest-matrix.md) and the member is entered in
// known_members.cc.
#pragma once
#include <optional>
#include <string>

#include "core/kernel/btf.hh"

namespace pars {

/// The first member of the kernel's own such types that was never met, as "address_space.i_pages"; nothing
/// when all are known. Padding that distributions reserve does not count.
std::optional<std::string> unknown_member(const Btf& kernel);

/// The same of what btrfs keeps behind a folio. `own`: the BTF that has btrfs's types.
std::optional<std::string> unknown_btrfs_member(const Btf& own);

}  // namespace pars
