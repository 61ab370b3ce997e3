// SPDX-License-Identifier: Apache-2.0
// Whether a block device gives back what was written to it: a disk of this machine that still answers, or one
// that is stacked, by the kernel's own structures, on such disks alone (R13). A name proves nothing: what
// bears a disk's name may be served by a process of the guest, lie beyond a network, or be gone.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/kernel/device_layout.hh"
#include "core/kernel/kernel_layout.hh"
#include "core/kernel/kernel_memory.hh"
#include "core/kernel/module_types.hh"
#include "core/kernel/stacked_types.hh"
#include "core/pages/reason.hh"

namespace pars {

class Disks {
 public:
  /// Why a mapping's file is not one to read from again, asked for a loop device's file.
  using JudgeFile = std::function<std::optional<Reason>(uint64_t mapping)>;

  Disks(const KernelMemory& memory, const CacheLayout& layout, ModuleTypes& modules, JudgeFile judge_file)
      : memory_(memory), layout_(layout), modules_(modules), judge_file_(std::move(judge_file)) {}

  /// Why what lies on this block_device is not proven to be there when it is read again; nothing when it is.
  std::optional<Reason> judge(uint64_t block_device);

 private:
  std::optional<Reason> look(uint64_t block_device);
  std::optional<uint64_t> whole_of(uint64_t disk) const;
  bool answers(uint64_t block_device, uint64_t disk, uint64_t whole) const;
  bool in_this_machine(uint64_t whole) const;
  const Btf* types_of(uint64_t disk);
  std::optional<Reason> judge_dm(uint64_t disk);
  bool sound_target(const DmLayout& dm, uint64_t table, uint64_t target);
  bool sound_raid(const Btf& types, const DmLayout& dm, uint64_t target) const;
  bool sound_pool(const Btf& types, const DmLayout& dm, uint64_t target) const;
  std::optional<Reason> judge_md(uint64_t disk);
  std::optional<std::vector<uint64_t>> array_members(const MdLayout& md, uint64_t array) const;
  std::optional<Reason> judge_loop(uint64_t disk);
  std::optional<Reason> judge_members(uint64_t disk, const std::vector<uint64_t>& devices);
  bool are_members(uint64_t disk, const std::vector<uint64_t>& devices) const;
  std::optional<std::vector<uint64_t>> list(uint64_t head, uint32_t link) const;
  std::optional<std::string> text_behind(uint64_t pointer) const;
  bool holds(uint64_t at, uint64_t value) const { return memory_.u64(at) == value; }

  const KernelMemory& memory_;
  const CacheLayout& layout_;
  ModuleTypes& modules_;
  JudgeFile judge_file_;
  std::unordered_map<uint64_t, std::optional<Reason>> known_;
  uint32_t depth_ = 0;
};

}  // namespace pars
