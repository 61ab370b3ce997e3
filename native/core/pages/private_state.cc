// SPDX-License-Identifier: Apache-2.0
#include "core/pages/private_state.hh"

namespace pars {

namespace {

constexpr uint32_t kMinBlockBits = 9;  // 512 bytes (SECTOR_SIZE)
constexpr uint32_t kPageBits = 12;
constexpr uint64_t kAlignment = 8;
constexpr uint64_t kBtrfsMark =
    1;  // EXTENT_FOLIO_PRIVATE, once EXTENT_PAGE_PRIVATE (Linux fs/btrfs/extent_io.h)

/// The bits of byte `byte` of a bitmap that lie in [first, end).
uint8_t bits_within(uint64_t byte, uint64_t first, uint64_t end) {
  uint8_t mask = 0;
  for (uint64_t i = 0; i < 8; i++)
    if (8 * byte + i >= first && 8 * byte + i < end) mask |= 1 << i;
  return mask;
}

void clear_bitmap(uint64_t va, uint64_t first, uint64_t end, std::vector<StateBits>& bits) {
  for (uint64_t byte = first / 8; 8 * byte < end; byte++)
    bits.push_back({va + byte, bits_within(byte, first, end)});
}

}  // namespace

Reason PrivateState::judge(uint64_t pfn, uint32_t order, const CachedFile& file,
                           std::vector<StateBits>& bits) const {
  if (!layout_.folios && file.private_kind != PrivateKind::buffer_heads) return Reason::private_unknown;
  if (file.block_bits < kMinBlockBits || file.block_bits > kMaxBlockBits) return Reason::private_unknown;
  const Folio folio{pfn, array_.at(pfn)->private_data(), file.block_bits,
                    kPageSize << order >> file.block_bits};
  if (file.private_kind == PrivateKind::btrfs) return btrfs(file.btrfs_state, folio, bits);
  if (folio.blocks == 0 || folio.state % kAlignment) return Reason::private_busy;
  if (file.private_kind == PrivateKind::buffer_heads && layout_.buffer_head)
    return buffer_heads(*layout_.buffer_head, folio, bits);
  if (file.private_kind == PrivateKind::iomap && layout_.iomap) return iomap(*layout_.iomap, folio, bits);
  return Reason::private_unknown;
}

/// A ring of as many buffers as the folio has blocks, in the order of its bytes (Linux fs/buffer.c,
/// create_empty_buffers). A ring that comes back to its first buffer after that many and not before holds
/// none twice.
Reason PrivateState::buffer_heads(const BufferHeadLayout& layout, const Folio& folio,
                                  std::vector<StateBits>& bits) const {
  const auto data = memory_.u64(folio.state + layout.data);
  if (!data || memory_.translate(*data) != folio.pfn * kPageSize) return Reason::private_busy;
  uint64_t at = folio.state;
  for (uint64_t block = 0; block < folio.blocks; block++) {
    if (block > 0 && at == folio.state) return Reason::private_busy;
    if (!idle_buffer(layout, folio, at, *data + (block << folio.block_bits))) return Reason::private_busy;
    bits.push_back({at + layout.state, static_cast<uint8_t>(layout.uptodate)});
    at = memory_.u64(at + layout.this_page).value_or(0);
  }
  if (at != folio.state) return Reason::private_busy;
  return Reason::buffer_heads;
}

bool PrivateState::idle_buffer(const BufferHeadLayout& layout, const Folio& folio, uint64_t at,
                               uint64_t data) const {
  if (at % kAlignment) return false;
  const auto state = memory_.u64(at + layout.state);
  if (!state || !(*state & layout.uptodate) || (*state & ~layout.idle)) return false;
  if (memory_.u64(at + layout.folio) != array_.address(folio.pfn)) return false;
  if (memory_.u64(at + layout.size) != uint64_t{1} << folio.block_bits ||
      memory_.u64(at + layout.data) != data)
    return false;
  return zero32(at + layout.count) && zero32(at + layout.lock) && zero64(at + layout.private_data) &&
         zero64(at + layout.association);
}

/// A folio of one block has none (Linux fs/iomap/buffered-io.c, ifs_alloc).
Reason PrivateState::iomap(const IomapLayout& layout, const Folio& folio,
                           std::vector<StateBits>& bits) const {
  if (folio.blocks < 2) return Reason::private_busy;
  if (!zero32(folio.state + layout.read_pending) || !zero32(folio.state + layout.write_pending) ||
      !zero32(folio.state + layout.lock))
    return Reason::private_busy;
  const uint64_t bitmap = folio.state + layout.state;
  if (!bitmap_is(bitmap, 0, folio.blocks, true)) return Reason::private_busy;
  if (layout.dirty_bits && !bitmap_is(bitmap, folio.blocks, 2 * folio.blocks, false))
    return Reason::private_busy;
  clear_bitmap(bitmap, 0, folio.blocks, bits);
  return Reason::iomap_blocks;
}

/// The mark of a folio of one block says no more than that btrfs knows it, and stays. Those of several blocks
/// have a btrfs_folio_state (since 6.17); blocks smaller than a page have one, too, and are not proven.
Reason PrivateState::btrfs(const std::optional<BtrfsStateLayout>& layout, const Folio& folio,
                           std::vector<StateBits>& bits) const {
  if (folio.state == kBtrfsMark) return folio.blocks == 1 ? Reason::btrfs_mark : Reason::private_busy;
  if (!layout || folio.block_bits != kPageBits) return Reason::private_unknown;
  if (folio.blocks < 2 || folio.state % kAlignment) return Reason::private_busy;
  return btrfs_blocks(*layout, folio, bits);
}

/// One bitmap a state, each of as many bits as the folio has blocks (Linux fs/btrfs/subpage.c,
/// subpage_calc_start_bit).
Reason PrivateState::btrfs_blocks(const BtrfsStateLayout& layout, const Folio& folio,
                                  std::vector<StateBits>& bits) const {
  if (!zero32(folio.state + layout.lock) || !zero32(folio.state + layout.locked)) return Reason::private_busy;
  const uint64_t bitmaps = folio.state + layout.bitmaps;
  for (uint64_t map = 0; map < layout.maps; map++)
    if (!bitmap_is(bitmaps, map * folio.blocks, (map + 1) * folio.blocks, map == layout.uptodate))
      return Reason::private_busy;
  clear_bitmap(bitmaps, layout.uptodate * folio.blocks, (layout.uptodate + 1) * folio.blocks, bits);
  return Reason::btrfs_blocks;
}

/// Every bit of [first, end) has this value. What lies beyond in the last word is not of the bitmap.
bool PrivateState::bitmap_is(uint64_t va, uint64_t first, uint64_t end, bool value) const {
  for (uint64_t byte = first / 8; 8 * byte < end; byte++) {
    const auto have = memory_.u8(va + byte);
    const uint8_t mask = bits_within(byte, first, end);
    if (!have || (*have & mask) != (value ? mask : 0)) return false;
  }
  return true;
}

}  // namespace pars
