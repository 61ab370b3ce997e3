// SPDX-License-Identifier: Apache-2.0
// The fast walk in two threads against its plain twin, on streams made to mislead the second thread.
#include <doctest/doctest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <random>

#include "core/image/ram_walk.hh"
#include "image_builder.hh"
#include "stream_compare.hh"

using namespace pars;
using test::ImageBuilder;

namespace {

constexpr uint64_t kFrames = 4096;
using Random = std::mt19937;

/// Page contents that look like records: chains of headers at a fixed place in every page, footers, sections.
std::vector<uint8_t> trap(Random& random) {
  std::vector<uint8_t> page(4096, 0);
  const uint32_t kind = random() % 4;
  ImageBuilder record;
  for (uint64_t at = kind == 0 ? 40 : 0; at + 32 <= page.size(); at += kind == 0 ? 4096 : 32) {
    record.bytes.clear();
    const uint64_t frame = random() % kFrames;
    if (kind == 1) record.be64(frame << 12 | 0x022).u8(0);
    else if (kind == 2) record.be64(0x010).footer().part();
    else record.be64(frame << 12 | 0x028);
    std::copy(record.bytes.begin(), record.bytes.end(), page.begin() + long(at));
  }
  return page;
}

void add_record(ImageBuilder& image, Random& random, bool traps) {
  const uint64_t frame = random() % kFrames;
  const auto contents = [&] {
    return traps && random() % 2 ? trap(random) : test::page_of(uint8_t(random()));
  };
  switch (random() % 64) {
    case 0:
      image.page_in("vga.vram", frame % 16, contents()).zero(frame % 16).page_in("pc.ram", frame, contents());
      break;
    case 1: image.eos().part(); break;
    case 2: image.eos().command(11).part().zero_in("pc.ram", frame); break;
    case 3:
    case 4:
    case 5:
    case 6: image.zero(frame); break;
    default: image.page(frame, contents());
  }
}

ImageBuilder random_image(uint32_t seed, bool traps, size_t records, uint64_t* offset) {
  Random random(seed);
  ImageBuilder image = test::image_with_ram(kFrames, offset);
  image.part().zero_in("pc.ram", 0);
  for (size_t i = 0; i < records; ++i) add_record(image, random, traps);
  image.eos().end();
  for (size_t i = 0; i < records / 4; ++i) image.page(random() % kFrames, trap(random));
  image.eos();
  test::add_devices(image);
  return image;
}

/// The same bytes as a descriptor.
class ImageInMemory {
 public:
  explicit ImageInMemory(const ImageBuilder& image) : fd_(memfd_create("image", MFD_CLOEXEC)) {
    REQUIRE(write(fd_, image.bytes.data(), image.bytes.size()) == ssize_t(image.bytes.size()));
  }
  ~ImageInMemory() { close(fd_); }
  ImageInMemory(const ImageInMemory&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

std::string twins(const ImageBuilder& image, uint64_t offset) {
  return test::difference(stream::parse_in_two(image.view(), offset, 0),
                          parse_migration_stream_plainly(image.view(), offset));
}

}  // namespace

TEST_CASE("two walks: reading the image finds what the mapping holds") {
  for (uint32_t seed = 100; seed < 110; ++seed) {
    uint64_t offset = 0;
    const ImageBuilder image = random_image(seed, seed % 2, 1000 + (seed - 100) * 300, &offset);
    const ImageInMemory file(image);
    const auto stream = stream::parse_in_two(image.view(), offset, 0, {file.fd(), true});
    CHECK(test::difference(stream, parse_migration_stream_plainly(image.view(), offset)) == "");
    const auto measured = stream::parse_in_two(image.view(), offset, 0, {file.fd()});
    CHECK(test::difference(measured, stream) == "");
  }
}

TEST_CASE("two walks: a descriptor that cannot be read leaves the mapping") {
  uint64_t offset = 0;
  const ImageBuilder image = random_image(7, false, 2000, &offset);
  const ImageInMemory shorter(test::image_with_ram(kFrames, &offset));
  for (const int fd : {-2, shorter.fd()}) {
    const auto stream = stream::parse_in_two(image.view(), offset, 0, {fd, true});
    CHECK(test::difference(stream, parse_migration_stream_plainly(image.view(), offset)) == "");
  }
}

TEST_CASE("two walks: every page that is one repeated word is a candidate, seen either way") {
  uint64_t offset = 0;
  ImageBuilder image = test::image_with_ram(kFrames, &offset);
  image.part().zero_in("pc.ram", 0);
  for (uint64_t frame = 1; frame < 2000; ++frame)
    image.page(frame, frame % 3 ? test::page_of(uint8_t(frame)) : std::vector<uint8_t>(4096, uint8_t(frame)));
  image.eos().end().eos();
  test::add_devices(image);
  const ImageInMemory file(image);
  for (const bool read : {false, true}) {
    const auto stream = stream::parse_in_two(image.view(), offset, 0, {read ? file.fd() : -1, read});
    REQUIRE(stream);
    for (uint64_t frame = 1; frame < 2000; ++frame) {
      const PageLocation at = stream->blocks[0].pages[frame];
      CHECK(stream->fills.may_be(at) == is_fill(&image.bytes[at]));
    }
  }
}

// Sizes from just behind the head, where the first stripe begins in the second half, to several stripes.
TEST_CASE("two walks: they find what one finds") {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    uint64_t offset = 0;
    const ImageBuilder image = random_image(seed, false, 1000 + seed * 300, &offset);
    REQUIRE(parse_migration_stream_plainly(image.view(), offset));
    CHECK(twins(image, offset) == "");
  }
}

TEST_CASE("two walks: payload that looks like records misleads nobody") {
  for (uint32_t seed = 100; seed < 130; ++seed) {
    uint64_t offset = 0;
    const ImageBuilder image = random_image(seed, true, 1000 + seed % 10 * 300, &offset);
    REQUIRE(parse_migration_stream_plainly(image.view(), offset));
    CHECK(twins(image, offset) == "");
  }
}

TEST_CASE("two walks: stripes begin in a block that only the first walk knows") {
  uint64_t offset = 0;
  ImageBuilder image = test::image_with_ram(kFrames, &offset).part().zero_in("pc.ram", 0);
  for (uint64_t i = 0; i < 9000; ++i) image.page(i % kFrames, test::page_of(uint8_t(i)));
  image.eos().end().eos();
  CHECK(twins(image, offset) == "");
}

TEST_CASE("two walks: every page is a chain of forged records") {
  uint64_t offset = 0;
  ImageBuilder image = test::image_with_ram(kFrames, &offset).part().zero_in("pc.ram", 0);
  Random random(1);
  ImageBuilder forged;
  for (int i = 0; i < 512; ++i) forged.be64(uint64_t(i) << 12 | 0x028);
  for (uint64_t i = 0; i < 3000; ++i) image.page(i, forged.bytes);
  image.eos().end().eos();
  CHECK(twins(image, offset) == "");
}

TEST_CASE("two walks: the second may begin in the last section, and see a forged one behind it") {
  uint64_t offset = 0;
  ImageBuilder image = test::image_with_ram(kFrames, &offset).end().zero_in("pc.ram", 0);
  for (uint64_t i = 0; i < 1000; ++i) image.page(i, test::page_of(uint8_t(i)));
  image.eos();
  const uint64_t ram_end = image.at();
  image.part().page(5, test::page_of(9)).eos().end().eos();
  const auto stream = stream::parse_in_two(image.view(), offset, 0);
  REQUIRE(stream);
  CHECK(stream->ram_end == ram_end);
  CHECK(twins(image, offset) == "");
}

TEST_CASE("two walks: a small block in force in the middle") {
  uint64_t offset = 0;
  ImageBuilder image = test::image_with_ram(kFrames, &offset).part().page_in("vga.vram", 0, test::page_of(0));
  for (uint64_t i = 0; i < 500; ++i) image.page(i % 16, test::page_of(uint8_t(i)));
  SUBCASE("all its records fit") {}
  SUBCASE("one does not") { image.page(17, test::page_of(3)); }
  SUBCASE("one does not, in a block named since") {
    image.zero_in("pc.ram", 99).zero_in("vga.vram", 1).page(17, test::page_of(3));
  }
  image.page_in("pc.ram", 17, test::page_of(1)).eos().end().eos();
  CHECK(twins(image, offset) == "");
}

TEST_CASE("two walks: a large block in force in the middle, then an error in a small one") {
  uint64_t offset = 0;
  ImageBuilder image = test::image_with_ram(kFrames, &offset).part().page_in("pc.ram", 0, test::page_of(0));
  for (uint64_t i = 0; i < 500; ++i) image.page(i, test::page_of(uint8_t(i)));
  image.zero_in("vga.vram", 0).page(17, test::page_of(1)).eos().end().eos();
  CHECK(twins(image, offset) == "");
}

TEST_CASE("two walks: one error is met as the other meets it") {
  uint64_t offset = 0;
  const ImageBuilder sound = random_image(7, true, 600, &offset);
  Random random(3);
  for (int i = 0; i < 60; ++i) {
    ImageBuilder image = sound;
    image.bytes[offset + random() % (image.at() - offset)] ^= uint8_t(1 << random() % 8);
    if (i % 3 == 0) image.bytes.resize(image.at() - random() % (image.at() - offset));
    CHECK(twins(image, offset) == "");
  }
}
