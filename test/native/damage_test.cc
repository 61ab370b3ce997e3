// SPDX-License-Identifier: Apache-2.0
// Images with flipped bits, cut short, or with lengths from elsewhere: nothing but an answer or an error may
// come of them. PARS_DAMAGE is how many of each; a real image's head joins in when PARS_SAMPLES has one.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "core/image/device_state.hh"
#include "core/image/domain_xml.hh"
#include "core/image/mapped_ram.hh"
#include "core/image/ram_walk.hh"
#include "core/image/save_image.hh"
#include "image_builder.hh"
#include "stream_compare.hh"

using namespace pars;
using test::ImageBuilder;
namespace fs = std::filesystem;

namespace {

using Image = std::vector<uint8_t>;
using Random = std::mt19937_64;

constexpr size_t kRealHead = 1 << 20;
constexpr size_t kRealTail = 1 << 19;

size_t rounds() {
  const char* asked = std::getenv("PARS_DAMAGE");
  return asked ? size_t(std::atoll(asked)) : 200;
}

/// All that a reader does with an image before it looks into the guest.
void read_all(const Image& bytes) {
  const Bytes image(bytes);
  const auto save = parse_save_image(image);
  if (!save) return;
  (void)parse_domain_xml(save->xml);
  const bool mapped = save->format == SaveFormat::sparse;
  const auto stream = mapped ? parse_mapped_ram(image, save->stream_offset)
                             : stream::parse_in_two(image, save->stream_offset, 0);
  if (!mapped)
    CHECK(test::difference(stream, parse_migration_stream_plainly(image, save->stream_offset)) == "");
  if (!stream) {
    CHECK(stream.error().offset <= image.size());
    return;
  }
  for (const Stripe& stripe : stream->stripes) (void)stripe_records(image, *stream, stripe);
  (void)read_vcpus(image, *stream);
}

Image flipped(Image image, Random& random) {
  for (uint64_t i = 1 + random() % 4; i; --i) image[random() % image.size()] ^= uint8_t(1 << random() % 8);
  return image;
}

Image cut(Image image, Random& random) {
  image.resize(random() % image.size());
  return image;
}

/// Overwrites a few bytes with a length, a flag word or other bytes of the image: what a parser trusts most.
Image spliced(Image image, Random& random) {
  constexpr uint64_t kWords[] = {0,    ~0ull, 0x7fffffff, 0x80000000,         0x28,
                                 0x22, 0x10,  0x1004,     0xfffffffffffff028, 0x7e02000000000000};
  const size_t width = size_t(1) << random() % 4, at = random() % (image.size() - 8);
  const uint64_t word =
      random() % 2 ? kWords[random() % std::size(kWords)] : load_be64(&image[random() % (image.size() - 8)]);
  for (size_t i = 0; i < width; ++i) image[at + i] = uint8_t(word >> 8 * (width - 1 - i));
  return image;
}

Image first_of(const fs::path& path, size_t bytes) {
  Image image(bytes);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(image.data()), std::streamsize(bytes));
  image.resize(size_t(file.gcount()));
  return image;
}

/// A real head, and the real end of the same image behind it: not a stream any more, but made of nothing
/// else.
Image real_head() {
  const char* directory = std::getenv("PARS_SAMPLES");
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(directory ? directory : "/nonexistent", none)) {
    if (entry.path().extension() != ".save" || entry.file_size() < kRealHead + kRealTail) continue;
    Image image = first_of(entry.path(), kRealHead);
    std::ifstream file(entry.path(), std::ios::binary);
    file.seekg(-std::streamoff(kRealTail), std::ios::end);
    image.insert(image.end(), std::istreambuf_iterator<char>(file), {});
    return image;
  }
  return {};
}

void damage_all(const Image& sound, size_t count) {
  Random random(1);
  for (size_t i = 0; i < count; ++i) {
    read_all(flipped(sound, random));
    read_all(cut(sound, random));
    read_all(spliced(sound, random));
  }
}

}  // namespace

TEST_CASE("damage: a synthetic image") {
  const auto image = test::small_image();
  read_all(image.bytes);
  damage_all(image.bytes, rounds());
}

TEST_CASE("damage: a sparse image") {
  auto image = test::small_sparse_image();
  read_all(image.bytes);
  damage_all(image.bytes, rounds());
}

TEST_CASE("damage: what stands around the pages of a sparse image") {
  ImageBuilder image;
  image.libvirt_header(test::small_xml(), 100, 6)
      .mapped_stream()
      .start("ram", ImageBuilder::kRamSection, 4)
      .be64((3ull << 12) | 0x004);
  image.mapped_block("pc.ram", 2, {{1, test::page_of(1)}}).mapped_block("vga.vram", 1, {}).eos().end().eos();
  test::add_devices(image);
  damage_all(image.bytes, 4 * rounds());
}

TEST_CASE("damage: what stands around the pages") {
  auto image = test::image_with_ram(64).part().zero_in("pc.ram", 0);
  for (int i = 1; i < 50; ++i) image.zero(uint64_t(i));
  image.eos().end().eos();
  test::add_devices(image);
  damage_all(image.bytes, 4 * rounds());
}

TEST_CASE("damage: cut at every byte") {
  const auto image = test::image_with_ram(4).end().zero_in("pc.ram", 0).eos();
  for (size_t bytes = 0; bytes <= image.bytes.size(); ++bytes)
    read_all({image.bytes.begin(), image.bytes.begin() + long(bytes)});
}

TEST_CASE("damage: the head and the end of a real image") {
  const Image image = real_head();
  if (image.empty()) {
    std::puts("SKIPPED: no real image to damage (PARS_SAMPLES)");
    return;
  }
  read_all(image);
  damage_all(image, rounds() / 4);
}
