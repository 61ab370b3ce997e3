// SPDX-License-Identifier: Apache-2.0
#include "core/pages/disk_stack.hh"

#include <algorithm>

namespace pars {
namespace {

constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kMaxBytes = 1ull << 60;
constexpr size_t kMaxLayers = 1 << 10;
constexpr uint32_t kLeftSymmetric = 2;           // ALGORITHM_LEFT_SYMMETRIC (Linux drivers/md/raid5.h)
constexpr uint32_t kNear = 0xff, kOneFar = 0x1;  // mddev.layout of raid10: near copies, then far copies

using Rule = DiskStack::Piece::Rule;

std::optional<uint64_t> add(std::optional<uint64_t> a, uint64_t b) {
  return a && *a <= kMaxBytes && b <= kMaxBytes ? std::optional(*a + b) : std::nullopt;
}

}  // namespace

/// Linux drivers/md/raid0.c map_sector, raid10.c __raid10_find_phys, raid5.c raid5_compute_sector.
std::optional<std::pair<uint32_t, uint64_t>> slot_of(const DiskStack::Piece& piece, uint64_t position) {
  const uint64_t n = piece.members.size();
  if (n == 0) return std::nullopt;
  if (piece.rule == Rule::copies) return std::pair(0u, position);
  if (piece.chunk == 0) return std::nullopt;
  const uint64_t chunk = position / piece.chunk, within = position % piece.chunk;
  const auto at = [&](uint64_t slot, uint64_t stripe) {
    return std::pair(static_cast<uint32_t>(slot), stripe * piece.chunk + within);
  };
  if (piece.rule == Rule::chunks) return at(chunk % n, chunk / n);
  if (piece.rule == Rule::raid10) {
    if (piece.near_copies == 0 || piece.near_copies > n) return std::nullopt;
    const uint64_t copy = chunk * piece.near_copies;
    return at(copy % n, copy / n);
  }
  if (n < 3) return std::nullopt;
  const uint64_t stripe = chunk / (n - 1), parity = (n - 1) - stripe % n;
  return at((parity + 1 + chunk % (n - 1)) % n, stripe);
}

std::optional<DiskByte> DiskStack::below(uint64_t block_device, uint64_t offset) {
  if (!cache_.bdev_start || offset > kMaxBytes || depth_ == kMaxStackDepth) return std::nullopt;
  const auto disk = memory_.u64(block_device + cache_.bdev_disk);
  const auto start = sectors(block_device + *cache_.bdev_start);
  const auto at = add(start, offset);
  if (!disk || *disk == 0 || !at) return std::nullopt;
  const Layer* layer = layer_of(*disk);
  if (!layer) return std::nullopt;
  if (layer->is_plain) return DiskByte{*disk, *at};
  depth_++;
  std::optional<DiskByte> found;
  if (layer->file) found = file_byte_(layer->file, layer->file_start + *at);
  const auto next = std::upper_bound(layer->pieces.begin(), layer->pieces.end(), *at,
                                     [](uint64_t byte, const Piece& piece) { return byte < piece.first; });
  if (next != layer->pieces.begin() && *at < std::prev(next)->end) found = below(*std::prev(next), *at);
  depth_--;
  return found;
}

std::optional<DiskByte> DiskStack::below(const Piece& piece, uint64_t at) {
  const auto slot = slot_of(piece, at - piece.first);
  if (!slot || slot->first >= piece.members.size()) return std::nullopt;
  const Member& member = piece.members[slot->first];
  const auto there = add(member.start, slot->second);
  return there ? below(member.device, *there) : std::nullopt;
}

std::optional<DiskByte> DiskStack::plain(uint64_t block_device) {
  const auto disk = memory_.u64(block_device + cache_.bdev_disk);
  const Layer* layer = disk && *disk ? layer_of(*disk) : nullptr;
  return layer && layer->is_plain ? below(block_device, 0) : std::nullopt;
}

/// A layer that is met while it is being looked at has no place.
const DiskStack::Layer* DiskStack::layer_of(uint64_t disk) {
  const auto known = layers_.find(disk);
  if (known != layers_.end()) return &known->second;
  if (layers_.size() == kMaxLayers) return nullptr;
  Layer layer = look(disk);
  return &(layers_[disk] = std::move(layer));
}

DiskStack::Layer DiskStack::look(uint64_t disk) {
  const std::string name = memory_.text(disk + cache_.disk_name, kDiskNameBytes).value_or("");
  const bool is_dm = name.starts_with("dm-"), is_md = name.starts_with("md"),
             is_loop = name.starts_with("loop");
  if (!is_dm && !is_md && !is_loop) return {.is_plain = true, .pieces = {}};
  const auto operations = cache_.disks ? memory_.u64(disk + cache_.disks->operations) : std::nullopt;
  const Btf* types = operations ? modules_.owned_by(*operations + cache_.disks->owner) : nullptr;
  if (!types) return {};
  if (is_dm) return look_dm(*types, disk);
  if (is_loop) return look_loop(*types, disk);
  const auto md = resolve_array_places(*types);
  const auto mddev = memory_.u64(disk + cache_.disks->private_data);
  auto piece = md && mddev ? array(*md, *mddev) : std::nullopt;
  if (!piece) return {};
  piece->end = kMaxBytes;
  return {.pieces = {std::move(*piece)}};
}

DiskStack::Layer DiskStack::look_dm(const Btf& types, uint64_t disk) {
  Layer out;
  const auto dm = resolve_dm(types);
  const auto targets = resolve_dm_targets(types);
  const auto self = memory_.u64(disk + cache_.disks->private_data);
  const auto table = self && dm ? memory_.u64(*self + dm->table) : std::nullopt;
  const auto first = table ? memory_.u64(*table + dm->targets) : std::nullopt;
  const auto count = table ? memory_.u32(*table + dm->target_count) : std::nullopt;
  if (!targets || !first || !count || *count > kMaxStackTargets) return out;
  for (uint64_t i = 0; i < *count; i++) take_target(types, *targets, *first + i * dm->target_bytes, out);
  std::sort(out.pieces.begin(), out.pieces.end(),
            [](const Piece& a, const Piece& b) { return a.first < b.first; });
  return out;
}

void DiskStack::take_target(const Btf& types, const DmTargets& dm, uint64_t target, Layer& out) {
  const auto type = memory_.u64(target + dm.type);
  const auto name_at = type ? memory_.u64(*type + dm.type_name) : std::nullopt;
  const auto name = name_at ? memory_.text(*name_at, kDriverNameBytes) : std::nullopt;
  const auto begin = sectors(target + dm.begin), length = sectors(target + dm.length);
  const auto context = memory_.u64(target + dm.context);
  if (!name || !begin || !length || !context) return;
  Piece piece{.first = *begin, .end = *begin + *length, .members = {}};
  if (*name == "striped") return take_striped(types, dm, *context, std::move(piece), out);
  const Btf* own = *name == "linear" ? &types : modules_.owned_by(*type + dm.type_module);
  if (!own) return;
  if (*name == "linear") {
    const auto linear = resolve_dm_linear(*own);
    const auto member =
        linear ? member_of(dm, *context + linear->device, *context + linear->start) : std::nullopt;
    if (member) piece.members = {*member};
  } else if (*name == "snapshot-origin") {
    // It passes requests on as they are: the sector is that of the stacked device.
    const auto origin = resolve_dm_origin(*own);
    auto member = origin ? member_of(dm, *context + *origin, 0) : std::nullopt;
    if (member) piece.members = {{member->device, *begin, 0}};
  } else if (*name == "raid") {
    const auto raid = resolve_dm_raid(*own);
    const auto places = resolve_array_places(*own);
    auto inner = raid && places ? array(*places, *context + raid->inside) : std::nullopt;
    if (!inner) return;
    inner->first = piece.first, inner->end = piece.end;
    piece = std::move(*inner);
  }
  out.pieces.push_back(std::move(piece));
}

/// `start_field` 0: it begins where its device does.
std::optional<DiskStack::Member> DiskStack::member_of(const DmTargets& dm, uint64_t dev_field,
                                                      uint64_t start_field) const {
  const auto dev = memory_.u64(dev_field);
  const auto device = dev ? memory_.u64(*dev + dm.device) : std::nullopt;
  const auto start = start_field ? sectors(start_field) : std::optional<uint64_t>(0);
  return device && *device && start ? std::optional(Member{*device, *start, 0}) : std::nullopt;
}

void DiskStack::take_striped(const Btf& types, const DmTargets& dm, uint64_t context, Piece piece,
                             Layer& out) const {
  const auto layout = resolve_dm_striped(types);
  const auto count = layout ? memory_.u32(context + layout->count) : std::nullopt;
  const auto chunk = layout ? memory_.u32(context + layout->chunk) : std::nullopt;
  if (!count || !chunk || *count == 0 || *count > kMaxStackMembers || *chunk == 0) return;
  piece.rule = Rule::chunks, piece.chunk = *chunk * kSectorBytes;
  for (uint64_t i = 0; i < *count; i++) {
    const uint64_t stripe = context + layout->stripes + i * layout->stripe_bytes;
    const auto member = member_of(dm, stripe + layout->stripe_device, stripe + layout->stripe_start);
    if (!member) return;
    piece.members.push_back(*member);
  }
  out.pieces.push_back(std::move(piece));
}

/// The data of a member begins behind its superblock.
std::optional<DiskStack::Piece> DiskStack::array(const ArrayPlaces& md, uint64_t mddev) const {
  const auto level = memory_.u32(mddev + md.level), layout = memory_.u32(mddev + md.layout),
             chunk = memory_.u32(mddev + md.chunk), disks = memory_.u32(mddev + md.disks);
  if (!level || !layout || !chunk || !disks || *disks == 0 || *disks > kMaxStackMembers) return std::nullopt;
  Piece piece{.chunk = *chunk * kSectorBytes, .members = {}};
  if (*level == 0) piece.rule = Rule::chunks;
  else if (*level == 5 && *layout == kLeftSymmetric) piece.rule = Rule::raid5;
  else if (*level == 10 && *layout >> 8 == kOneFar) piece.rule = Rule::raid10;
  else if (*level != 1) return std::nullopt;
  if (piece.rule == Rule::raid10) piece.near_copies = *layout & kNear;
  const uint64_t head = mddev + md.members;
  auto at = memory_.u64(head);
  for (uint32_t i = 0; at && *at != head && i < kMaxStackMembers; i++, at = memory_.u64(*at)) {
    const uint64_t member = *at - md.member_link;
    const auto device = memory_.u64(member + md.member_device);
    const auto slot = memory_.u32(member + md.member_slot);
    const auto start = sectors(member + md.member_start);
    if (device && *device && slot && start && *slot < *disks)
      piece.members.push_back({*device, *start, *slot});
  }
  std::sort(piece.members.begin(), piece.members.end(),
            [](const Member& a, const Member& b) { return a.slot < b.slot; });
  const bool is_whole = piece.members.size() == *disks || (*level == 1 && !piece.members.empty());
  return is_whole ? std::optional(std::move(piece)) : std::nullopt;
}

DiskStack::Layer DiskStack::look_loop(const Btf& types, uint64_t disk) const {
  const auto loop = resolve_loop_places(types);
  const auto self = memory_.u64(disk + cache_.disks->private_data);
  const auto file = loop && self ? memory_.u64(*self + loop->file) : std::nullopt;
  const auto start = loop && self ? memory_.u64(*self + loop->offset) : std::nullopt;
  const auto mapping = file && cache_.file_mapping ? memory_.u64(*file + *cache_.file_mapping) : std::nullopt;
  if (!mapping || !start || *start > kMaxBytes) return {};
  return {.file = *mapping, .file_start = *start, .pieces = {}};
}

std::optional<uint64_t> DiskStack::sectors(uint64_t at) const {
  const auto count = memory_.u64(at);
  return count && *count <= kMaxBytes / kSectorBytes ? std::optional(*count * kSectorBytes) : std::nullopt;
}

}  // namespace pars
