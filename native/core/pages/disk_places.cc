// SPDX-License-Identifier: Apache-2.0
#include "core/pages/disk_places.hh"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "core/kernel/file_system_types.hh"
#include "core/pages/disk_stack.hh"
#include "core/pages/xfs_extents.hh"

namespace pars {
namespace {

constexpr uint64_t kMaxOffset = 1ull << 60;
constexpr size_t kMaxReferencedDevices = 256;
constexpr uint64_t kNodesToRead = 1 << 18;  // index blocks, of all files together
constexpr uint64_t kMaxExtents = 1 << 24;   // of all files together: what holding them may cost
constexpr uint32_t kMaxTypeName = 32;
// Without BTF of its module an ext4 inode is told by its root: four entries, in the first bytes of what holds
// the inode.
constexpr uint64_t kFarthestRoot = 1024, kRootStep = 8;
constexpr uint16_t kRootEntries = 4;

/// What maps a file's bytes to a device's.
struct Source {
  enum class Kind : uint8_t { none, extents, device } kind = Kind::none;
  uint64_t device = 0;            ///< block_device
  std::optional<DiskByte> plain;  ///< where that begins, when it lies on a disk in one piece
  uint32_t block_bits = 0;
  std::vector<FileExtent> extents;
};

class Placer {
 public:
  Placer(const ReadingView& view, const DiskAccess& disks)
      : view_(view),
        memory_(view.memory),
        cache_(*view.layout.cache),
        disks_(disks),
        stack_(view, [this](uint64_t mapping, uint64_t position) { return file_byte(mapping, position); }) {}

  PlacedPages run() {
    each_page([this](uint64_t mapping, uint64_t index, uint64_t pfn) {
      if (is_device(mapping)) device_pages_[mapping].emplace(index, pfn);
    });
    each_page([this](uint64_t mapping, uint64_t index, uint64_t pfn) { place(mapping, index, pfn); });
    return std::move(out_);
  }

 private:
  template <class Take>
  void each_page(const Take& take) const {
    const auto in_cache = [](PageClass c) {
      return c == PageClass::clean_cache || c == PageClass::mapped_cache || c == PageClass::dirty_cache ||
             c == PageClass::other_cache;
    };
    for (uint64_t pfn = 0; pfn < view_.classifications.size(); pfn++) {
      if (!in_cache(view_.classifications[pfn].page_class)) continue;
      const auto own = view_.array.at(pfn);
      if (!own) continue;
      const uint64_t head =
          own->compound() & 1 ? view_.array.head_of(pfn, own->compound()).value_or(pfn) : pfn;
      const auto page = view_.array.at(head);
      if (!page || head > pfn || !is_file_mapping(page->mapping())) continue;
      take(page->mapping(), page->index() + (pfn - head), pfn);
    }
  }

  void place(uint64_t mapping, uint64_t index, uint64_t pfn) {
    const PageLocation payload = memory_.ram().location(pfn * kPageSize);
    const Segment* segment = memory_.ram().segment(pfn * kPageSize);
    if (payload == kZeroPage || !segment || segment->block > UINT16_MAX) return;
    out_.cached++;
    if (index > kMaxOffset / kPageSize) return;
    const auto there = file_byte(mapping, index * kPageSize);
    const auto device = there ? number_of(there->disk) : std::nullopt;
    if (!device || there->offset > kMaxOffset) return;
    const uint64_t block_page = segment->block_page + pfn - segment->gpa / kPageSize;
    out_.pages.push_back({payload, there->offset, static_cast<uint32_t>(block_page),
                          static_cast<uint16_t>(segment->block), *device});
  }

  /// Where a page of that file lies, or of that device.
  std::optional<DiskByte> file_byte(uint64_t mapping, uint64_t position) {
    const Source& source = known_source(mapping);
    if (source.kind == Source::Kind::none) return std::nullopt;
    const auto offset = source.kind == Source::Kind::device
                            ? std::optional(position)
                            : device_offset(source.extents, source.block_bits, position, kPageSize);
    if (!offset || *offset > kMaxOffset) return std::nullopt;
    if (source.plain) return DiskByte{source.plain->disk, source.plain->offset + *offset};
    return stack_.below(source.device, *offset);
  }
  /// A file that is met while it is being looked at has no place: a loop device on itself.
  const Source& known_source(uint64_t mapping) {
    const auto known = sources_.find(mapping);
    if (known != sources_.end()) return known->second;
    sources_[mapping] = {};
    Source found = source_of(mapping);
    return sources_[mapping] = std::move(found);
  }
  std::optional<uint16_t> number_of(uint64_t disk) {
    if (disk == last_disk_) return last_number_;
    const auto& known = out_.devices;
    const size_t number = std::find(known.begin(), known.end(), disk) - known.begin();
    if (number == kMaxReferencedDevices) return std::nullopt;
    if (number == known.size()) out_.devices.push_back(disk);
    last_disk_ = disk, last_number_ = static_cast<uint16_t>(number);
    return last_number_;
  }

  std::optional<uint64_t> inode_of(uint64_t mapping, uint16_t type) const {
    const auto host = memory_.u64(mapping + cache_.mapping_host);
    const auto mode = host && *host ? memory_.u16(*host + cache_.inode_mode) : std::nullopt;
    if (!mode || (*mode & kFileTypeMask) != type || *host + cache_.inode_data != mapping) return std::nullopt;
    return host;
  }
  bool is_device(uint64_t mapping) {
    auto [at, fresh] = is_device_.try_emplace(mapping, false);
    if (fresh) at->second = inode_of(mapping, kBlockDevice).has_value();
    return at->second;
  }

  Source source_of(uint64_t mapping) {
    if (is_device(mapping)) return device_source(mapping);
    const auto inode = inode_of(mapping, kRegularFile);
    const auto sb = inode ? memory_.u64(*inode + cache_.inode_sb) : std::nullopt;
    const auto device = sb ? memory_.u64(*sb + cache_.sb_bdev) : std::nullopt;
    const auto bits = inode ? memory_.u8(*inode + cache_.inode_block_bits) : std::nullopt;
    if (!device || *device == 0 || !bits || *bits > kMaxBlockBits) return {};
    const std::string name = file_system(*sb);
    if (name == "xfs") return xfs_source(*inode, *sb, *device, *bits);
    if (name != "ext4") return {};
    const auto root = extent_root(*inode, *memory_.u64(*sb + cache_.sb_type));
    if (!root) return {};
    Source source{Source::Kind::extents, *device, stack_.plain(*device), *bits, {}};
    const NodeBlocks blocks = [&](uint64_t block, const auto& is_node) {
      return node_block(*device, *bits, block, is_node);
    };
    return with_extents(std::move(source), read_extents(*root, blocks, nodes_left_));
  }

  Source xfs_source(uint64_t inode, uint64_t sb, uint64_t device, uint32_t bits) {
    const auto type = memory_.u64(sb + cache_.sb_type);
    const Btf* types = type ? view_.modules.of(*type) : nullptr;
    const auto fork = types ? resolve_xfs_fork(*types) : std::nullopt;
    if (!fork) return {};
    return with_extents({Source::Kind::extents, device, stack_.plain(device), bits, {}},
                        read_xfs_extents(memory_, *fork, inode - fork->inode, nodes_left_));
  }

  Source with_extents(Source source, std::vector<FileExtent> extents) {
    if (extents.size() > extents_left_) return {};
    extents_left_ -= extents.size();
    source.extents = std::move(extents);
    return source;
  }

  Source device_source(uint64_t mapping) {
    const auto inode = inode_of(mapping, kBlockDevice);
    if (!inode || !cache_.devices) return {};
    const uint64_t device = *inode - cache_.devices->inode_in_pair + cache_.devices->device_in_pair;
    return {Source::Kind::device, device, stack_.plain(device), 0, {}};
  }

  std::string file_system(uint64_t sb) const {
    const auto type = memory_.u64(sb + cache_.sb_type);
    const auto name = type ? memory_.u64(*type + cache_.fs_name) : std::nullopt;
    return name ? memory_.text(*name, kMaxTypeName).value_or("") : "";
  }

  /// Of a device's own cache; 0: not known.
  uint64_t mapping_of(uint64_t device) const {
    const auto* pair = cache_.devices ? &*cache_.devices : nullptr;
    return pair ? device - pair->device_in_pair + pair->inode_in_pair + cache_.inode_data : 0;
  }

  std::optional<std::vector<uint8_t>> extent_root(uint64_t inode, uint64_t type) const {
    const Btf* types = view_.modules.of(type);
    const auto own = types ? resolve_file_system(*types).ext4 : std::nullopt;
    if (own) return bytes_at(inode - own->inode + own->data);
    for (uint64_t back = kRootStep; !types && back <= kFarthestRoot; back += kRootStep) {
      const auto root = bytes_at(inode - back);
      if (root && load_le<uint16_t>(root->data()) == kExtentMagic &&
          load_le<uint16_t>(&(*root)[4]) == kRootEntries)
        return root;
    }
    return std::nullopt;
  }
  std::optional<std::vector<uint8_t>> bytes_at(uint64_t va) const {
    std::vector<uint8_t> bytes(kExtentRootBytes);
    return memory_.read(va, bytes.data(), bytes.size()) ? std::optional(std::move(bytes)) : std::nullopt;
  }

  /// From the device's cache in guest memory, which is newer than the disk; else from whichever disk has a
  /// node there.
  std::optional<std::vector<uint8_t>> node_block(uint64_t device, uint32_t bits, uint64_t block,
                                                 const std::function<bool(Bytes)>& is_node) {
    const uint64_t bytes = 1ull << bits;
    if (block > kMaxOffset >> bits || bytes > kPageSize) return std::nullopt;
    if (const uint8_t* cached = cached_block(mapping_of(device), block << bits);
        cached && is_node({cached, bytes}))
      return std::vector(cached, cached + bytes);
    std::vector<uint8_t> read(bytes);
    const auto there = stack_.below(device, block << bits);
    const auto number = there ? number_of(there->disk) : std::nullopt;
    if (!number) return std::nullopt;
    const auto found_on = [&](size_t disk) {
      return disks_.read(disk, there->offset, read) && is_node(read);
    };
    const auto known = disk_of_.find(*number);
    if (known != disk_of_.end()) return found_on(known->second) ? std::optional(read) : std::nullopt;
    for (size_t disk = 0; disk < disks_.disks; disk++) {
      if (!found_on(disk)) continue;
      disk_of_[*number] = disk;
      return read;
    }
    return std::nullopt;
  }
  const uint8_t* cached_block(uint64_t mapping, uint64_t offset) const {
    const auto pages = device_pages_.find(mapping);
    if (pages == device_pages_.end()) return nullptr;
    const auto page = pages->second.find(offset / kPageSize);
    const uint8_t* bytes =
        page == pages->second.end() ? nullptr : memory_.ram().page(page->second * kPageSize);
    return bytes ? bytes + offset % kPageSize : nullptr;
  }

  const ReadingView& view_;
  const KernelMemory& memory_;
  const CacheLayout& cache_;
  const DiskAccess& disks_;
  DiskStack stack_;
  PlacedPages out_;
  uint64_t last_disk_ = 0;
  uint16_t last_number_ = 0;
  std::unordered_map<uint64_t, Source> sources_;  // by mapping
  std::unordered_map<uint64_t, bool> is_device_;  // likewise
  std::unordered_map<uint64_t, std::unordered_map<uint64_t, uint64_t>>
      device_pages_;                              // mapping of a block device -> index -> frame
  std::unordered_map<uint16_t, size_t> disk_of_;  // devices on whose disk a node was found
  uint64_t nodes_left_ = kNodesToRead, extents_left_ = kMaxExtents;
};

}  // namespace

PlacedPages place_pages(const ReadingView& view, const DiskAccess& disks) {
  if (!view.layout.cache) return {};
  return Placer(view, disks).run();
}

}  // namespace pars
