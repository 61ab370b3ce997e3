// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/device_layout.hh"

#include "core/kernel/fields.hh"

namespace pars {

namespace {

/// A bd_holder_disk names its device or, in later kernels, the directory that only that device has.
std::optional<MembersLayout> members_layout(const Btf& btf) {
  Fields f(btf);
  MembersLayout m{};
  m.list = f.at("gendisk", "slave_bdevs", 16), m.link = f.at("bd_holder_disk", "list", 16);
  m.by_directory = f.has("bd_holder_disk", "holder_dir");
  m.named = f.pointer("bd_holder_disk", m.by_directory ? "holder_dir" : "bdev");
  m.directory = f.pointer("block_device", "bd_holder_dir");
  return f.whole ? std::optional(m) : std::nullopt;
}

}  // namespace

std::optional<DiskLayout> resolve_disks(const Btf& btf) {
  Fields f(btf);
  DiskLayout d{};
  d.embedded = f.has("hd_struct", "nr_sects");
  d.whole = d.embedded ? f.start("gendisk", "part0") : f.pointer("gendisk", "part0");
  d.partition = d.embedded ? f.pointer("block_device", "bd_part") : 0;
  const char* part = d.embedded ? "hd_struct" : "block_device";
  d.start = f.at(part, d.embedded ? "start_sect" : "bd_start_sect", 8);
  d.sectors = f.at(part, d.embedded ? "nr_sects" : "bd_nr_sectors", 8);
  d.device = f.start(part, d.embedded ? "__dev" : "bd_device");
  d.parent = f.pointer("device", "parent"), d.bus = f.pointer("device", "bus");
  d.device_name = f.pointer("device", "kobj.name"), d.bus_name = f.pointer("bus_type", "name");
  d.private_data = f.pointer("gendisk", "private_data"), d.operations = f.pointer("gendisk", "fops");
  d.owner = f.pointer("block_device_operations", "owner");
  d.members = members_layout(btf);
  return f.whole ? std::optional(d) : std::nullopt;
}

}  // namespace pars
