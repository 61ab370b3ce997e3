// SPDX-License-Identifier: Apache-2.0
// Writes small save images piece by piece, as libvirt and QEMU would, or with one piece wrong.
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/bytes.hh"

namespace pars::test {

inline constexpr std::string_view kUuid = "0f0e0d0c-0b0a-0908-0706-050403020100";

inline std::string small_xml() {
  return "<domain type='kvm'><name>guest</name><uuid>" + std::string(kUuid) +
         "</uuid><memory unit='MiB'>64</memory></domain>";
}

/// A page whose bytes all differ from other pages' (and are never those of a record).
inline std::vector<uint8_t> page_of(uint8_t seed) {
  std::vector<uint8_t> page(4096);
  for (size_t i = 0; i < page.size(); ++i) page[i] = uint8_t(0x80 | (seed + i));
  return page;
}

class ImageBuilder {
 public:
  static constexpr uint32_t kRamSection = 2;
  using Blocks = std::vector<std::pair<std::string, uint64_t>>;

  std::vector<uint8_t> bytes;

  uint64_t at() const { return bytes.size(); }
  Bytes view() const { return bytes; }

  ImageBuilder& u8(uint8_t v) { return bytes.push_back(v), *this; }
  ImageBuilder& be16(uint16_t v) { return u8(uint8_t(v >> 8)).u8(uint8_t(v)); }
  ImageBuilder& be32(uint32_t v) { return be16(uint16_t(v >> 16)).be16(uint16_t(v)); }
  ImageBuilder& be64(uint64_t v) { return be32(uint32_t(v >> 32)).be32(uint32_t(v)); }
  ImageBuilder& le32(uint32_t v) { return be32(__builtin_bswap32(v)); }
  ImageBuilder& raw(std::string_view text) {
    return bytes.insert(bytes.end(), text.begin(), text.end()), *this;
  }
  ImageBuilder& raw(const std::vector<uint8_t>& data) {
    return bytes.insert(bytes.end(), data.begin(), data.end()), *this;
  }
  ImageBuilder& zeros(size_t count) { return bytes.resize(bytes.size() + count), *this; }
  ImageBuilder& text8(std::string_view text) { return u8(uint8_t(text.size())).raw(text); }

  ImageBuilder& libvirt_header(std::string_view xml = small_xml(), uint32_t padding = 100,
                               uint32_t format = 0) {
    raw("LibvirtQemudSave")
        .le32(2)
        .le32(uint32_t(xml.size() + 1 + padding))
        .le32(1)
        .le32(format)
        .le32(0)
        .zeros(92 - 36);
    return raw(xml).zeros(1 + padding);
  }
  ImageBuilder& stream_header(std::string_view machine = "pc-i440fx-7.2") {
    return be32(0x5145564d).be32(3).u8(7).be32(uint32_t(machine.size())).raw(machine);
  }
  ImageBuilder& subsection(std::string_view name) { return u8(5).text8(name).be32(1); }
  ImageBuilder& start(std::string_view name, uint32_t id, uint32_t version) {
    return u8(1).be32(id).text8(name).be32(0).be32(version);
  }
  ImageBuilder& blocks(const Blocks& list) {
    uint64_t total = 0;
    for (const auto& [name, size] : list) total += size;
    be64(total | 0x004);
    for (const auto& [name, size] : list) text8(name).be64(size);
    return *this;
  }
  ImageBuilder& ram_start(const Blocks& list) { return start("ram", kRamSection, 4).blocks(list); }
  ImageBuilder& mapped_header(uint64_t bitmap, uint64_t pages, uint32_t version = 1,
                              uint64_t page_bytes = 4096) {
    return be32(version).be64(page_bytes).be64(bitmap).be64(pages);
  }
  /// A block of a sparse image: its name, length and header, its bitmap, and a place for each of its pages.
  /// Those without contents are zero.
  ImageBuilder& mapped_block(std::string_view name, uint64_t frames,
                             const std::map<uint64_t, std::vector<uint8_t>>& pages) {
    text8(name).be64(frames << 12);
    const uint64_t bitmap = at() + 28, first = (bitmap + (frames + 63) / 64 * 8 + 4095) / 4096 * 4096;
    mapped_header(bitmap, first);
    zeros(first + (frames << 12) - at());
    for (const auto& [frame, contents] : pages) {
      bytes[bitmap + frame / 8] |= uint8_t(1 << frame % 8);
      std::copy(contents.begin(), contents.end(), bytes.begin() + long(first + (frame << 12)));
    }
    return *this;
  }
  ImageBuilder& mapped_stream(std::string_view machine = "pc-i440fx-10.0") {
    return stream_header(machine).subsection("configuration/capabilities").be32(1).text8("mapped-ram");
  }
  ImageBuilder& footer(uint32_t id = kRamSection) { return u8(0x7e).be32(id); }
  ImageBuilder& eos() { return be64(0x010).footer(); }
  ImageBuilder& part() { return u8(2).be32(kRamSection); }
  ImageBuilder& end() { return u8(3).be32(kRamSection); }
  ImageBuilder& command(uint16_t number) { return u8(8).be16(number).be16(0); }

  ImageBuilder& page(uint64_t frame, const std::vector<uint8_t>& contents) {
    return be64(frame << 12 | 0x028).raw(contents);
  }
  ImageBuilder& zero(uint64_t frame) { return be64(frame << 12 | 0x022).u8(0); }
  ImageBuilder& page_in(std::string_view block, uint64_t frame, const std::vector<uint8_t>& contents) {
    return be64(frame << 12 | 0x008).text8(block).raw(contents);
  }
  ImageBuilder& zero_in(std::string_view block, uint64_t frame) {
    return be64(frame << 12 | 0x002).text8(block).u8(0);
  }

  ImageBuilder& device(std::string_view name, uint32_t instance, std::string_view contents, uint32_t id = 9) {
    return u8(4).be32(id).text8(name).be32(instance).be32(12).raw(contents).footer(id);
  }
  ImageBuilder& description(std::string_view json) {
    return u8(0).u8(6).be32(uint32_t(json.size())).raw(json);
  }
};

/// A vCPU's section as the description below tells it: 16 registers, eip, then cr[0], cr[2], cr[3], cr[4],
/// then a subsection.
inline std::string vcpu_contents(uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t rip) {
  ImageBuilder cpu;
  cpu.zeros(16 * 8).be64(rip).be64(cr0).be64(0).be64(cr3).be64(cr4);
  cpu.subsection("cpu/async_pf_msr").be64(7);
  return {cpu.bytes.begin(), cpu.bytes.end()};
}

inline std::string vcpu_description(uint32_t instance) {
  const auto field = [](std::string_view name) {
    return R"({"name":")" + std::string(name) + R"(","type":"uint64","size":8})";
  };
  return R"({"name":"cpu","instance_id":)" + std::to_string(instance) +
         R"(,"vmsd_name":"cpu","version":12,"fields":[)"
         R"({"name":"env.regs","array_len":16,"type":"uint64","size":8},)" +
         field("env.eip") + "," + field("env.cr[0]") + "," + field("env.cr[2]") + "," + field("env.cr[3]") +
         "," + field("env.cr[4]") +
         R"(],"subsections":[{"vmsd_name":"cpu/async_pf_msr","version":1,"fields":[)" + field("env.cr[3]") +
         "]}]}";
}

inline std::string description_of(const std::vector<std::string>& devices) {
  std::string list;
  for (const std::string& device : devices) list += (list.empty() ? "" : ",") + device;
  return R"({"configuration":{"vmsd_name":"configuration","version":1,"fields":[]},)"
         R"("page_size":4096,"devices":[)" +
         list + "]}";
}

/// Two vCPUs and a device with a struct, from behind the RAM to the stream's end.
inline void add_devices(ImageBuilder& image) {
  const std::string timer = R"({"name":"timer","instance_id":0,"vmsd_name":"timer","version":2,"fields":[)"
                            R"({"name":"state","type":"struct","struct":{"vmsd_name":"s","version":1,)"
                            R"("fields":[{"name":"x","size":4}]},"size":10}]})";
  image.device("timer", 0, "0123456789", 5);
  image.device("cpu", 0, vcpu_contents(0x80050033, 0x1000, 0x6f0, 0xffffffff81000000));
  image.device("cpu", 1, vcpu_contents(0x80050033, 0x2000, 0x6f0, 0xffffffff81000010), 10);
  image.description(description_of({timer, vcpu_description(0), vcpu_description(1)}));
}

/// Header to first record: "pc.ram" of `frames` pages and a small "vga.vram".
inline ImageBuilder image_with_ram(uint64_t frames, uint64_t* stream_offset = nullptr) {
  ImageBuilder image;
  image.libvirt_header();
  if (stream_offset) *stream_offset = image.at();
  image.stream_header().ram_start({{"pc.ram", frames << 12}, {"vga.vram", 16 << 12}}).eos();
  return image;
}

/// A whole, sound image of a few pages.
inline ImageBuilder small_image(uint64_t* stream_offset = nullptr) {
  ImageBuilder image = image_with_ram(64, stream_offset);
  image.part().page_in("pc.ram", 0, page_of(1)).page(1, page_of(2)).zero(2).page(3, page_of(3)).eos();
  image.command(11).part().zero_in("vga.vram", 0).page(5, page_of(4)).eos();
  image.end().page_in("pc.ram", 1, page_of(5)).eos();
  add_devices(image);
  return image;
}

/// A whole, sound sparse image: a few pages among zero pages, the RAM's sections, devices.
inline ImageBuilder small_sparse_image(uint64_t* stream_offset = nullptr) {
  ImageBuilder image;
  image.libvirt_header(small_xml(), 100, 6);
  if (stream_offset) *stream_offset = image.at();
  image.mapped_stream().start("ram", ImageBuilder::kRamSection, 4).be64((70ull << 12) | 0x004);
  image.mapped_block("pc.ram", 67, {{0, page_of(1)}, {1, page_of(2)}, {3, page_of(3)}, {66, page_of(4)}});
  image.mapped_block("vga.vram", 3, {{2, page_of(5)}}).eos();
  image.command(11).part().eos().end().eos();
  add_devices(image);
  return image;
}

}  // namespace pars::test
