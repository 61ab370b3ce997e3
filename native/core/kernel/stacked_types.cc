// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/stacked_types.hh"

#include "core/kernel/fields.hh"

namespace pars {

namespace {

template <class Layout>
std::optional<Layout> whole(const Fields& f, const Layout& layout) {
  return f.whole ? std::optional(layout) : std::nullopt;
}

MdLayout md_layout(Fields& f) {
  MdLayout m{};
  m.personality = f.pointer("mddev", "pers");
  // In later kernels the name is in a head that all submodules of md share.
  m.name = f.pointer("md_personality", f.has("md_personality", "head.name") ? "head.name" : "name");
  m.disk = f.pointer("mddev", "gendisk"), m.flags = f.at("mddev", "flags", 8);
  m.suspended = f.at("mddev", "suspended", 4), m.degraded = f.at("mddev", "degraded", 4);
  m.members = f.at("mddev", "disks", 16), m.member_link = f.at("md_rdev", "same_set", 16);
  m.member_owner = f.pointer("md_rdev", "mddev"), m.member_flags = f.at("md_rdev", "flags", 8);
  m.member_device = f.pointer("md_rdev", "bdev");
  m.broken = f.bit("mddev_flags", "MD_BROKEN"), m.faulty = f.bit("flag_bits", "Faulty");
  return m;
}

}  // namespace

std::optional<DmTargets> resolve_dm_targets(const Btf& btf) {
  Fields f(btf);
  DmTargets d{};
  d.begin = f.at("dm_target", "begin", 8), d.length = f.at("dm_target", "len", 8);
  d.type = f.pointer("dm_target", "type"), d.context = f.pointer("dm_target", "private");
  d.type_name = f.pointer("target_type", "name"), d.type_module = f.pointer("target_type", "module");
  d.device = f.pointer("dm_dev", "bdev");
  return whole(f, d);
}

std::optional<DmLinear> resolve_dm_linear(const Btf& btf) {
  Fields f(btf);
  const DmLinear l{f.pointer("linear_c", "dev"), f.at("linear_c", "start", 8)};
  return whole(f, l);
}

std::optional<DmStriped> resolve_dm_striped(const Btf& btf) {
  Fields f(btf);
  DmStriped s{};
  s.count = f.at("stripe_c", "stripes", 4), s.chunk = f.at("stripe_c", "chunk_size", 4);
  s.stripes = f.start("stripe_c", "stripe"), s.stripe_bytes = f.size("stripe");
  s.stripe_device = f.pointer("stripe", "dev"), s.stripe_start = f.at("stripe", "physical_start", 8);
  return whole(f, s);
}

std::optional<uint32_t> resolve_dm_origin(const Btf& btf) {
  Fields f(btf);
  const uint32_t device = f.pointer("dm_origin", "dev");
  return whole(f, device);
}

std::optional<ArrayPlaces> resolve_array_places(const Btf& btf) {
  Fields f(btf);
  ArrayPlaces m{};
  m.level = f.at("mddev", "level", 4), m.layout = f.at("mddev", "layout", 4);
  m.chunk = f.at("mddev", "chunk_sectors", 4), m.disks = f.at("mddev", "raid_disks", 4);
  m.members = f.at("mddev", "disks", 16), m.member_link = f.at("md_rdev", "same_set", 16);
  m.member_device = f.pointer("md_rdev", "bdev"), m.member_slot = f.at("md_rdev", "raid_disk", 4);
  m.member_start = f.at("md_rdev", "data_offset", 8);
  return whole(f, m);
}

std::optional<LoopPlaces> resolve_loop_places(const Btf& btf) {
  Fields f(btf);
  const LoopPlaces l{f.pointer("loop_device", "lo_backing_file"), f.at("loop_device", "lo_offset", 8)};
  return whole(f, l);
}

std::optional<DmLayout> resolve_dm(const Btf& btf) {
  Fields f(btf);
  DmLayout d{};
  d.disk = f.pointer("mapped_device", "disk"), d.flags = f.at("mapped_device", "flags", 8);
  d.table = f.pointer("mapped_device", "map"), d.table_owner = f.pointer("dm_table", "md");
  d.targets = f.pointer("dm_table", "targets"), d.target_count = f.at("dm_table", "num_targets", 4);
  d.devices = f.at("dm_table", "devices", 16), d.target_bytes = f.size("dm_target");
  d.target_table = f.pointer("dm_target", "table"), d.target_type = f.pointer("dm_target", "type");
  d.target_private = f.pointer("dm_target", "private");
  d.type_name = f.pointer("target_type", "name"), d.type_module = f.pointer("target_type", "module");
  d.link = f.at("dm_dev_internal", "list", 16), d.entry = f.pointer("dm_dev_internal", "dm_dev");
  d.device = f.pointer("dm_dev", "bdev");
  return whole(f, d);
}

std::optional<MdLayout> resolve_md(const Btf& btf) {
  Fields f(btf);
  const MdLayout m = md_layout(f);
  return whole(f, m);
}

std::optional<DmRaidLayout> resolve_dm_raid(const Btf& btf) {
  Fields f(btf);
  const DmRaidLayout r{md_layout(f), f.pointer("raid_set", "ti"), f.start("raid_set", "md")};
  return whole(f, r);
}

std::optional<DmPoolLayout> resolve_dm_pool(const Btf& btf) {
  Fields f(btf);
  const DmPoolLayout p{f.pointer("pool_c", "ti"), f.pointer("pool_c", "pool"), f.at("pool", "pf.mode", 4),
                       f.number("pool_mode", "PM_WRITE")};
  return whole(f, p);
}

std::optional<LoopLayout> resolve_loop(const Btf& btf) {
  Fields f(btf);
  const LoopLayout l{f.pointer("loop_device", "lo_disk"), f.at("loop_device", "lo_state", 4),
                     f.pointer("loop_device", "lo_backing_file"), f.number("", "Lo_bound")};
  return whole(f, l);
}

}  // namespace pars
