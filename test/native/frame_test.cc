// SPDX-License-Identifier: Apache-2.0
#include "core/frames/frame.hh"

#include <doctest/doctest.h>

#include "core/frames/recovery_frame.hh"

using namespace pars;

TEST_CASE("frame: compressed and back, and nothing but the very frame") {
  const std::vector<uint8_t> raw(100000, 'x');
  std::vector<uint8_t> frame, out(raw.size());
  REQUIRE(Compressor(1).compress(raw, frame));
  CHECK(decompress(frame, out));
  CHECK(out == raw);
  std::vector<uint8_t> shorter(raw.size() - 1);
  CHECK(!decompress(frame, shorter));
  CHECK(!decompress(Bytes(frame).first(frame.size() - 1), out));
  std::vector<uint8_t> twice = frame;
  twice.insert(twice.end(), frame.begin(), frame.end());
  CHECK(!decompress(twice, out));
  CHECK(!decompress({}, out));
  std::vector<uint8_t> nothing;
  REQUIRE(Compressor(19).compress({}, frame));
  CHECK(decompress(frame, nothing));
}

TEST_CASE("frame: one that unpacks to other bytes is found") {
  std::vector<uint8_t> raw(20000), frame;
  for (size_t i = 0; i < raw.size(); i++) raw[i] = uint8_t(i * i);
  std::vector<uint8_t> room(raw.size());
  REQUIRE(Compressor(1).compress(raw, frame));
  CHECK(unpacks_to(frame, raw, room));
  for (const size_t at : {size_t{0}, raw.size() / 2, raw.size() - 1}) {
    std::vector<uint8_t> other = raw;
    other[at] ^= 4;
    CHECK_FALSE(unpacks_to(frame, other, room));
  }
  // A bit that the frame's format does not see is found by the comparison.
  size_t silent = 0;
  for (size_t at = 0; at < frame.size(); at++) {
    std::vector<uint8_t> damaged = frame;
    damaged[at] ^= 1;
    std::vector<uint8_t> out(raw.size());
    const bool same = decompress(damaged, out) && out == raw;
    silent += !same && decompress(damaged, out);
    CHECK(bool(unpacks_to(damaged, raw, room)) == same);
  }
  CHECK(silent > 0);
}

TEST_CASE("recovery: the writes of every folio that reaches into a stretch") {
  Recovery recovery;
  recovery.folios = {{100, 100, 0, 1}, {150, 900, 1, 2}, {200, 200, 3, 1}, {500, 500, 4, 1}};
  for (uint64_t i = 0; i < 5; i++) recovery.writes.push_back({1000 - i, 1, uint8_t(i)});
  RecoveryIndex index(recovery);
  auto first = [&](uint64_t begin, uint64_t end) {
    std::vector<int> values;
    for (const RecoveryWrite& write : index.writes_within(begin, end)) values.push_back(write.value);
    return values;
  };
  CHECK(first(0, 100).empty());
  CHECK(first(0, 101) == std::vector{0});
  CHECK(first(160, 201) == std::vector{1, 2, 3});
  CHECK(first(300, 400) == std::vector{1, 2});
  CHECK(first(901, 2000).empty());
  CHECK(index.targets() == std::vector<uint64_t>{996, 997, 998, 999, 1000});
  auto encoded = encode_recovery(recovery.writes);
  CHECK(load_le<uint32_t>(&encoded[0]) == 1);
  CHECK(load_le<uint32_t>(&encoded[4]) == 5);
  auto decoded = decode_writes(Bytes(encoded).subspan(kRecoveryHeaderBytes));
  REQUIRE(decoded);
  CHECK(*decoded == recovery.writes);
  CHECK(!decode_writes(encoded));
}

// A live snapshot sends pages again: their folios then lie later in the image than those of higher page
// frames.
TEST_CASE("recovery: no write is left out when folios are not in the order of the image") {
  Recovery recovery;
  recovery.folios = {{100, 100, 0, 1}, {900, 950, 1, 1}, {200, 200, 2, 1}, {150, 800, 3, 1}};
  for (uint64_t i = 0; i < 4; i++) recovery.writes.push_back({1000 - i, 1, uint8_t(i)});
  const RecoveryIndex index(recovery);
  auto values = [&](uint64_t begin, uint64_t end) {
    std::vector<int> found;
    for (const RecoveryWrite& write : index.writes_within(begin, end)) found.push_back(write.value);
    return found;
  };
  CHECK(values(0, 300) == std::vector{0, 2, 3});
  CHECK(values(700, 800) == std::vector{3});
  CHECK(values(900, 1000) == std::vector{1});
}
