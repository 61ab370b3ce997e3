// SPDX-License-Identifier: Apache-2.0
#include "core/pages/disks.hh"

#include <algorithm>
#include <string_view>

namespace pars {

namespace {

constexpr size_t kMaxDevices = 1 << 10;  // a host has fewer, and each may have as many members
constexpr int kMaxParents = 16;

/// Buses between a disk and the machine's own, on the way up. Whatever else is on the way (usb, vdpa, nd)
/// serves a disk in another manner.
constexpr std::string_view kWayBuses[] = {"scsi", "virtio", "mmc", "ide"};
constexpr std::string_view kMachineBus = "pci";
/// Devices without a bus on the way to a host adapter that is a network's end: iSCSI, Fibre Channel over
/// whatever.
constexpr std::string_view kRemote[] = {"session", "rport-"};

/// Targets that read straight from the devices of their table.
constexpr std::string_view kPlainTargets[] = {"linear", "striped", "crypt", "snapshot-origin", "thin"};
constexpr std::string_view kPersonalities[] = {"raid0", "raid1", "raid10", "raid5"};

template <size_t N>
bool any_of(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

/// Takes one or more characters of a range off the front.
bool take(std::string_view& name, char first, char last) {
  const size_t before = name.size();
  while (!name.empty() && name[0] >= first && name[0] <= last) name.remove_prefix(1);
  return name.size() < before;
}

bool take(std::string_view& name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  return true;
}

/// vda, sdab, hdc; nvme0n1; mmcblk0: what has media that its driver does not change (a CD-ROM is sr0).
bool is_plain_disk(std::string_view name) {
  for (std::string_view letters : {"vd", "sd", "hd"}) {
    std::string_view rest = name;
    if (take(rest, letters)) return take(rest, 'a', 'z') && rest.empty();
  }
  if (take(name, "nvme"))
    return take(name, '0', '9') && take(name, "n") && take(name, '0', '9') && name.empty();
  return take(name, "mmcblk") && take(name, '0', '9') && name.empty();
}

bool is_numbered(std::string_view name, std::string_view prefix) {
  return take(name, prefix) && take(name, '0', '9') && name.empty();
}

}  // namespace

/// A device that is met while it is being judged stands on itself. The way to a device decides nothing but
/// how deep the stack is.
std::optional<Reason> Disks::judge(uint64_t block_device) {
  const auto known = known_.find(block_device);
  if (known != known_.end()) return known->second;
  if (known_.size() == kMaxDevices || depth_ == kMaxStackDepth) return Reason::disk_stack;
  known_[block_device] = Reason::disk_stack;
  depth_++;
  const auto doubt = look(block_device);
  depth_--;
  known_[block_device] = doubt;
  return doubt;
}

std::optional<Reason> Disks::look(uint64_t block_device) {
  if (!layout_.disks) return Reason::disk;
  const auto disk = memory_.u64(block_device + layout_.bdev_disk);
  const auto name = disk ? memory_.text(*disk + layout_.disk_name, kDiskNameBytes) : std::nullopt;
  const auto whole = disk ? whole_of(*disk) : std::nullopt;
  if (!name || !whole) return Reason::file_unreadable;
  if (!answers(block_device, *disk, *whole)) return Reason::disk_gone;
  if (is_plain_disk(*name)) return in_this_machine(*whole) ? std::nullopt : std::optional(Reason::disk);
  if (is_numbered(*name, "dm-")) return judge_dm(*disk);
  if (is_numbered(*name, "md")) return judge_md(*disk);
  if (is_numbered(*name, "loop")) return judge_loop(*disk);
  return Reason::disk;
}

std::optional<uint64_t> Disks::whole_of(uint64_t disk) const {
  return layout_.disks->embedded ? disk + layout_.disks->whole : memory_.u64(disk + layout_.disks->whole);
}

/// A disk that was taken away has no sectors left (Linux block/genhd.c, __blk_mark_disk_dead, del_gendisk); a
/// partition lies within it.
bool Disks::answers(uint64_t block_device, uint64_t disk, uint64_t whole) const {
  const DiskLayout& d = *layout_.disks;
  if (!d.embedded && !holds(whole + layout_.bdev_disk, disk)) return false;
  const auto part = d.embedded ? memory_.u64(block_device + d.partition) : std::optional(block_device);
  const auto all = memory_.u64(whole + d.sectors);
  const auto start = part ? memory_.u64(*part + d.start) : std::nullopt;
  const auto sectors = part ? memory_.u64(*part + d.sectors) : std::nullopt;
  return all && start && sectors && *sectors > 0 && *sectors <= *all && *start <= *all - *sectors;
}

/// Up the chain of parents: a function on the machine's bus answers, or the kernel would have taken the disk
/// away.
bool Disks::in_this_machine(uint64_t whole) const {
  const DiskLayout& d = *layout_.disks;
  uint64_t at = whole + d.device;
  for (int step = 0; step < kMaxParents; step++) {
    at = memory_.u64(at + d.parent).value_or(0);
    const auto bus = at ? memory_.u64(at + d.bus) : std::nullopt;
    const auto name = at ? text_behind(at + d.device_name) : std::nullopt;
    if (!bus || !name) return false;
    for (std::string_view remote : kRemote)
      if (name->starts_with(remote)) return false;
    if (*bus == 0) continue;
    const auto bus_name = text_behind(*bus + d.bus_name);
    if (bus_name == kMachineBus) return true;
    if (!bus_name || !any_of(kWayBuses, *bus_name)) return false;
  }
  return false;
}

/// The types of the driver whose disk it is.
const Btf* Disks::types_of(uint64_t disk) {
  const auto operations = memory_.u64(disk + layout_.disks->operations);
  return operations ? modules_.owned_by(*operations + layout_.disks->owner) : nullptr;
}

/// Its live table, every target of it of a kind that reads from the table's devices, and every one of those
/// proven.
std::optional<Reason> Disks::judge_dm(uint64_t disk) {
  const Btf* types = types_of(disk);
  const auto dm = types ? resolve_dm(*types) : std::nullopt;
  const auto self = memory_.u64(disk + layout_.disks->private_data);
  if (!dm || !self || !holds(*self + dm->disk, disk) || !holds(*self + dm->flags, 0))
    return Reason::disk_stack;
  const uint64_t table = memory_.u64(*self + dm->table).value_or(0);
  const auto count = memory_.u32(table + dm->target_count);
  const auto targets = memory_.u64(table + dm->targets);
  if (!holds(table + dm->table_owner, *self) || !targets || !count || *count == 0 ||
      *count > kMaxStackTargets)
    return Reason::disk_stack;
  for (uint64_t i = 0; i < *count; i++)
    if (!sound_target(*dm, table, *targets + i * dm->target_bytes)) return Reason::disk_stack;
  const auto entries = list(table + dm->devices, dm->link);
  if (!entries) return Reason::disk_stack;
  std::vector<uint64_t> devices;
  for (uint64_t entry : *entries) {
    const auto device = memory_.u64(entry + dm->entry);
    devices.push_back(device ? memory_.u64(*device + dm->device).value_or(0) : 0);
  }
  return judge_members(disk, devices);
}

bool Disks::sound_target(const DmLayout& dm, uint64_t table, uint64_t target) {
  const auto type = memory_.u64(target + dm.target_type);
  const auto name = type ? text_behind(*type + dm.type_name) : std::nullopt;
  if (!name || !holds(target + dm.target_table, table)) return false;
  if (any_of(kPlainTargets, *name)) return true;
  if (*name != "raid" && *name != "thin-pool") return false;
  const Btf* types = modules_.owned_by(*type + dm.type_module);
  if (!types) return false;
  return *name == "raid" ? sound_raid(*types, dm, target) : sound_pool(*types, dm, target);
}

/// Its members are linear devices of the table's; the array is md's, without a disk of its own.
bool Disks::sound_raid(const Btf& types, const DmLayout& dm, uint64_t target) const {
  const auto raid = resolve_dm_raid(types);
  const auto set = memory_.u64(target + dm.target_private);
  return raid && set && holds(*set + raid->target, target) &&
         array_members(raid->array, *set + raid->inside).has_value();
}

bool Disks::sound_pool(const Btf& types, const DmLayout& dm, uint64_t target) const {
  const auto layout = resolve_dm_pool(types);
  const auto context = memory_.u64(target + dm.target_private);
  if (!layout || !context || !holds(*context + layout->target, target)) return false;
  const auto pool = memory_.u64(*context + layout->pool);
  return pool && memory_.u32(*pool + layout->mode) == layout->writable;
}

std::optional<Reason> Disks::judge_md(uint64_t disk) {
  const Btf* types = types_of(disk);
  const auto md = types ? resolve_md(*types) : std::nullopt;
  const auto array = memory_.u64(disk + layout_.disks->private_data);
  if (!md || !array || !holds(*array + md->disk, disk)) return Reason::disk_stack;
  const auto members = array_members(*md, *array);
  return members ? judge_members(disk, *members) : std::optional(Reason::disk_stack);
}

/// The devices of an array that runs with all of them and stands still for nobody; nothing when it does not.
std::optional<std::vector<uint64_t>> Disks::array_members(const MdLayout& md, uint64_t array) const {
  const auto personality = memory_.u64(array + md.personality);
  const auto name = personality && *personality ? text_behind(*personality + md.name) : std::nullopt;
  const auto flags = memory_.u64(array + md.flags);
  const auto entries = list(array + md.members, md.member_link);
  if (!name || !any_of(kPersonalities, *name) || !flags || (*flags & md.broken) || !entries)
    return std::nullopt;
  if (memory_.u32(array + md.suspended) != 0u || memory_.u32(array + md.degraded) != 0u) return std::nullopt;
  std::vector<uint64_t> devices;
  for (uint64_t entry : *entries) {
    const auto state = memory_.u64(entry + md.member_flags);
    if (!holds(entry + md.member_owner, array) || !state || (*state & md.faulty)) return std::nullopt;
    devices.push_back(memory_.u64(entry + md.member_device).value_or(0));
  }
  return devices;
}

std::optional<Reason> Disks::judge_loop(uint64_t disk) {
  const Btf* types = types_of(disk);
  const auto loop = types ? resolve_loop(*types) : std::nullopt;
  const auto self = memory_.u64(disk + layout_.disks->private_data);
  if (!loop || !self || !holds(*self + loop->disk, disk) || memory_.u32(*self + loop->state) != loop->bound)
    return Reason::disk_stack;
  const auto file = memory_.u64(*self + loop->file);
  const auto mapping =
      file && layout_.file_mapping ? memory_.u64(*file + *layout_.file_mapping) : std::nullopt;
  if (!mapping) return Reason::disk_stack;
  return judge_file_(*mapping);
}

/// What the driver says it stands on is what the block layer knows it to hold, and each of it is proven.
std::optional<Reason> Disks::judge_members(uint64_t disk, const std::vector<uint64_t>& devices) {
  if (!are_members(disk, devices)) return Reason::disk_stack;
  for (uint64_t device : devices)
    if (const auto doubt = judge(device)) return doubt == Reason::disk_gone ? doubt : Reason::disk_stack;
  return std::nullopt;
}

bool Disks::are_members(uint64_t disk, const std::vector<uint64_t>& devices) const {
  if (!layout_.disks->members || devices.empty()) return false;
  const MembersLayout& m = *layout_.disks->members;
  const auto entries = list(disk + m.list, m.link);
  if (!entries || entries->size() != devices.size()) return false;
  std::vector<uint64_t> told, held;
  for (uint64_t device : devices)
    told.push_back(m.by_directory ? memory_.u64(device + m.directory).value_or(0) : device);
  for (uint64_t entry : *entries) held.push_back(memory_.u64(entry + m.named).value_or(0));
  std::sort(told.begin(), told.end()), std::sort(held.begin(), held.end());
  return told.front() != 0 && told == held && std::adjacent_find(told.begin(), told.end()) == told.end();
}

/// The objects on a list of the kernel's that have their link at `link`; nothing when it does not end.
std::optional<std::vector<uint64_t>> Disks::list(uint64_t head, uint32_t link) const {
  std::vector<uint64_t> objects;
  auto at = memory_.u64(head);
  for (; at && *at != head; at = memory_.u64(*at)) {
    if (objects.size() == kMaxStackMembers) return std::nullopt;
    objects.push_back(*at - link);
  }
  return at ? std::optional(objects) : std::nullopt;
}

std::optional<std::string> Disks::text_behind(uint64_t pointer) const {
  const auto at = memory_.u64(pointer);
  return at ? memory_.text(*at, kDriverNameBytes) : std::nullopt;
}

}  // namespace pars
