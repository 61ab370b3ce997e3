// SPDX-License-Identifier: Apache-2.0
// The running kernel's image as its page tables map it, and what its read-only part tells: no process can
// write there.
#pragma once
#include <memory>

#include "core/kernel/kernel_memory.hh"
#include "core/kernel/module_types.hh"

namespace pars {

inline constexpr uint64_t kImageMap = 0xffffffff80000000;  // __START_KERNEL_map

struct KernelImage {
  std::shared_ptr<const KernelMemory> memory;
  KernelBtf btf;            ///< the kernel's own types (R3); none when there are none in the image
  uint64_t page_array = 0;  ///< where the kernel says that the region of the struct pages begins; 0: nowhere
};

/// Looks once through all that is read-only in the `bytes` from kImageMap on.
KernelImage look_through_image(std::shared_ptr<const KernelMemory> memory, uint64_t bytes);

}  // namespace pars
