// SPDX-License-Identifier: Apache-2.0
// Which kernel the vCPUs run, proven from their CR3 (R2), with its own BTF (R3) and VMCOREINFO.
// A dead kernel's memory, or a process's forgery, is self-consistent; only the page tables in force tell them
// apart.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/image/device_state.hh"
#include "core/kernel/btf.hh"
#include "core/kernel/kernel_layout.hh"
#include "core/kernel/kernel_memory.hh"
#include "core/kernel/module_types.hh"
#include "core/kernel/vmcoreinfo.hh"

namespace pars {

struct LiveKernel {
  std::string release;
  Vmcoreinfo info;
  std::shared_ptr<const KernelMemory> memory;  ///< translates by the tables at CR3
  KernelLayout layout;
  KernelBtf btf;
  std::vector<uint64_t> vmcoreinfo_gpas;  ///< every page of guest RAM that holds exactly this VMCOREINFO
};

Believed<LiveKernel> prove_live_kernel(const GuestRam& ram, const std::vector<Vcpu>& vcpus);

}  // namespace pars
