// SPDX-License-Identifier: Apache-2.0
// The types of a kernel made up for a test: what its BTF will say, and where the hand-made guest puts its
// fields. Offsets resemble the real kernels', but nothing may depend on that: the core learns them from BTF
// alone.
#pragma once
#include "guest/type_set.hh"

namespace pars::test {

inline constexpr uint32_t kOrders = 11, kMigrateTypes = 4, kZones = 3, kFanout = 64;

/// Page types are inverted bits, the order of a folio is a byte of its second struct page (6.1).
KernelTypes linux_6_1();
/// No folios, no types of modules: compound_order and compound_mapcount stand in the second struct page
/// (5.10).
KernelTypes linux_5_10();
/// Page types are numbers, mappings tell how large their folios may be, map counts of large folios are summed
/// (6.12).
KernelTypes linux_6_12();
/// Tails name their head by a mask of their own address (7.1).
KernelTypes linux_7_1();

/// Every kernel that a guest made by hand can have.
extern const std::map<std::string, KernelTypes> kKernels;
/// Those that have folios, and that tell the types of their modules.
extern const std::map<std::string, KernelTypes> kFolioKernels;

}  // namespace pars::test
