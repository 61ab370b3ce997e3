// SPDX-License-Identifier: Apache-2.0
// The types of disks, the devices they hang from, and the drivers that stack them; which are built in, but in
// the tests of modules.
#pragma once
#include "guest/type_set.hh"

namespace pars::test {

/// A kernel before 5.11: partitions lie apart, that of the whole disk in the disk.
void add_old_disks(KernelTypes& k);

/// A kernel of 5.11 or later: a partition is a block_device. `holder` is what names a member of a stacked
/// disk; `name_in_head`: that of md's personalities stands in their head.
void add_stacked_disks(KernelTypes& k, const char* holder, bool name_in_head);

}  // namespace pars::test
