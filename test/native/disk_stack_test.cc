// SPDX-License-Identifier: Apache-2.0
// Where bytes of stacked devices lie: the drivers' own arithmetic, and their structures on guests made by
// hand.
#include "core/pages/disk_stack.hh"

#include <doctest/doctest.h>

#include <functional>

#include "guest/stacked.hh"

using namespace pars;
using namespace pars::test;

namespace {

using Piece = DiskStack::Piece;
constexpr uint64_t kChunk = 64 << 10, kSectors = 512;

Piece piece(Piece::Rule rule, uint32_t members, uint32_t near_copies = 1) {
  Piece out{.rule = rule, .end = 1 << 30, .chunk = kChunk, .near_copies = near_copies, .members = {}};
  for (uint32_t i = 0; i < members; i++) out.members.push_back({i + 1, 0, i});
  return out;
}

/// The members that have the first chunks, and in which of their own.
std::vector<std::pair<uint32_t, uint64_t>> chunks(const Piece& p, uint64_t count) {
  std::vector<std::pair<uint32_t, uint64_t>> out;
  for (uint64_t i = 0; i < count; i++) {
    const auto slot = slot_of(p, i * kChunk + 4096);
    REQUIRE(slot);
    CHECK(slot->second % kChunk == 4096);
    out.emplace_back(slot->first, slot->second / kChunk);
  }
  return out;
}

using Expected = std::vector<std::pair<uint32_t, uint64_t>>;

/// What is asked while a reading of the guest is at hand.
std::optional<DiskByte> below(StackedGuest& g, uint64_t device, uint64_t offset) {
  std::optional<DiskByte> found;
  const InspectOptions options{[&](const ReadingView& view) {
                                 const auto file = [](uint64_t mapping, uint64_t at) {
                                   return std::optional(DiskByte{mapping, at});
                                 };
                                 found = DiskStack(view, file).below(device, offset);
                               },
                               {}};
  g.look(kPage, options);
  return found;
}

/// A volume of two pieces on two disks, each from some sector of its disk on.
uint64_t volume(StackedGuest& g, const std::vector<uint64_t>& disks) {
  const uint64_t device = g.add_dm({"linear", "linear"}, disks);
  for (uint64_t i = 0; i < 2; i++) {
    const uint64_t target = g.target_of(device) + i * g.types.bytes("dm_target");
    const uint64_t linear = g.make("linear_c"), dev = g.make("dm_dev");
    g.set("dm_dev", dev, "bdev", disks[i]);
    g.set("linear_c", linear, "dev", dev), g.set("linear_c", linear, "start", 2048 + i);
    g.set("dm_target", target, "begin", 100 * i), g.set("dm_target", target, "len", 100);
    g.set("dm_target", target, "private", linear);
  }
  return device;
}

}  // namespace

TEST_CASE("chunks lie on members as md and dm lay them out") {
  CHECK(chunks(piece(Piece::Rule::chunks, 3), 5) == Expected{{0, 0}, {1, 0}, {2, 0}, {0, 1}, {1, 1}});
  CHECK(chunks(piece(Piece::Rule::raid10, 4, 2), 4) == Expected{{0, 0}, {2, 0}, {0, 1}, {2, 1}});
  CHECK(chunks(piece(Piece::Rule::raid10, 3, 2), 4) == Expected{{0, 0}, {2, 0}, {1, 1}, {0, 2}});
  // Parity walks from the last member to the first, and data begins behind it.
  CHECK(chunks(piece(Piece::Rule::raid5, 3), 7) ==
        Expected{{0, 0}, {1, 0}, {2, 1}, {0, 1}, {1, 2}, {2, 2}, {0, 3}});
  CHECK(slot_of(piece(Piece::Rule::copies, 2), 12345) == std::pair(0u, uint64_t{12345}));
}

TEST_CASE("a piece of an impossible shape has no place") {
  CHECK(!slot_of(piece(Piece::Rule::copies, 0), 0));
  CHECK(!slot_of(piece(Piece::Rule::raid5, 2), 0));
  CHECK(!slot_of(piece(Piece::Rule::raid10, 2, 3), 0));
  CHECK(!slot_of(piece(Piece::Rule::raid10, 2, 0), 0));
  Piece flat = piece(Piece::Rule::chunks, 2);
  flat.chunk = 0;
  CHECK(!slot_of(flat, 0));
}

TEST_CASE("a volume is followed to its disks, and what lies past it has no place") {
  StackedGuest g(linux_6_12());
  const std::vector<uint64_t> disks = {g.make_disk("sda", 1), g.make_disk("sdb", 1)};
  const uint64_t device = volume(g, disks);
  const auto first = below(g, device, 7 * kSectors), second = below(g, device, 105 * kSectors);
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->disk == g.disk_of(disks[0]));
  CHECK(first->offset == (2048 + 7) * kSectors);
  CHECK(second->disk == g.disk_of(disks[1]));
  CHECK(second->offset == (2049 + 5) * kSectors);
  CHECK(!below(g, device, 200 * kSectors));
}

TEST_CASE("a volume on a volume is followed, and one on itself has no place") {
  StackedGuest g(linux_6_12());
  const uint64_t disk = g.make_disk("sda", 1), inner = volume(g, {disk, disk});
  const uint64_t outer = volume(g, {inner, inner});
  CHECK(!below(g, outer, 0));  // its first byte is sector 2048 of a volume of 200
  const uint64_t target = g.target_of(outer);
  g.set("linear_c", g.get("dm_target", target, "private"), "start", 50);
  const auto there = below(g, outer, kSectors);
  REQUIRE(there);
  CHECK(there->offset == (2048 + 51) * kSectors);
  g.set("dm_dev", g.get("linear_c", g.get("dm_target", target, "private"), "dev"), "bdev", outer);
  CHECK(!below(g, outer, kSectors));
}

TEST_CASE("an array is followed to the data of its members, a loop device to its file") {
  StackedGuest g(linux_7_1());
  const uint64_t disk = g.make_disk("sda", 1), array = g.add_md("raid1", {disk});
  const uint64_t md = g.driver_of(array);
  g.set("mddev", md, "level", 1), g.set("mddev", md, "raid_disks", 1);
  g.set("md_rdev", g.first_member(md), "data_offset", 264);
  const auto there = below(g, array, 3 * kSectors);
  REQUIRE(there);
  CHECK(there->offset == 267 * kSectors);
  g.set("mddev", md, "level", 6);
  CHECK(!below(g, array, 0));

  const File backing = g.make_file("xfs", "vdb");
  const uint64_t loop = g.add_loop(backing);
  g.set("loop_device", g.driver_of(loop), "lo_offset", 4096);
  const auto in_file = below(g, loop, 512);
  REQUIRE(in_file);
  CHECK(in_file->disk == backing.mapping);
  CHECK(in_file->offset == 4608);
}
