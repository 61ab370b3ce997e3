// SPDX-License-Identifier: Apache-2.0
// Writes the seeds of the fuzz targets that read a guest's memory, pieces of a healthy guest made by hand,
// and those of sparse images. Usage: seeds DIRECTORY (test/fuzz/corpus); built and run by scripts/fuzz
// --seeds.
#include <filesystem>
#include <fstream>

#include "core/frames/frame.hh"
#include "core/frames/run_table.hh"
#include "guest/guest.hh"
#include "image_builder.hh"

using namespace pars;
using namespace pars::test;

namespace {

std::filesystem::path root;

void write(const char* target, const char* name, const std::vector<uint8_t>& bytes) {
  std::filesystem::create_directories(root / target);
  std::ofstream(root / target / name, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
}

/// A word changed in a region of the target `guest`: region, frame, word, value.
std::vector<uint8_t> change(uint8_t region, uint64_t frame, uint16_t word, uint64_t value) {
  std::vector<uint8_t> out = {region, uint8_t(frame), uint8_t(word >> 8), uint8_t(word)};
  for (int i = 0; i < 8; i++) out.push_back(uint8_t(value >> 8 * i));
  return out;
}

void page_table_seed() {
  std::vector<uint8_t> out = {1, 0, 0, 0, 0, 0x80, 0x88, 0xff, 0xff, 0};  // top table, address, four levels
  for (uint16_t level = 1; level < 5; level++) {
    out.push_back(uint8_t((level * 512 + (level == 1 ? 273 : 0)) >> 8)),
        out.push_back(uint8_t(level == 1 ? 273 : 0));
    const uint64_t entry = (level + 1) * kPage | 3;
    for (int i = 0; i < 8; i++) out.push_back(uint8_t(entry >> 8 * i));
  }
  write("page_tables", "four-levels", out);
  out[9] = 1;
  write("page_tables", "five-levels", out);
}

void frame_seeds() {
  std::vector<uint8_t> runs, frame;
  encode_runs({{8, 1, 8, 0}, {4, 0, 0, 0}}, runs);
  runs.resize(runs.size() + 12, 'x');
  write("frames", "runs", runs);
  if (!Compressor(3).compress(runs, frame)) return;
  std::vector<uint8_t> prefixed = {uint8_t(runs.size()), 0, 0, 0};
  prefixed.insert(prefixed.end(), frame.begin(), frame.end());
  write("frames", "zstd", prefixed);
}

/// The layouts of the images that the target makes: each begins with the length of its run table.
void stripe_copy_seeds() {
  const auto layout = [](const char* name, const std::vector<Run>& runs) {
    std::vector<uint8_t> table;
    encode_runs(runs, table);
    std::vector<uint8_t> out = {uint8_t(table.size()), uint8_t(table.size() >> 8), 0, 0};
    out.insert(out.end(), table.begin(), table.end());
    write("stripe_copy", name, out);
  };
  std::vector<Run> records;
  for (uint8_t i = 0; i < 8; i++) {
    records.push_back({8, 1, 8, kFillFrame});
    records.push_back({8, 2, 8, i});
  }
  records.push_back({40, 0, 0, 0});
  layout("records", records);
  layout("one-run", {{8, 24, 8, 6}, {40, 0, 0, 0}});
  layout("sparse", {{0, 24, 0, 6}});
}

void mapped_ram_seeds() {
  const auto begun = [](uint64_t frames) {
    return ImageBuilder()
        .mapped_stream()
        .start("ram", ImageBuilder::kRamSection, 4)
        .be64(frames << 12 | 0x004);
  };
  ImageBuilder two = begun(5)
                         .mapped_block("pc.ram", 4, {{1, page_of(1)}, {3, page_of(2)}})
                         .mapped_block("vga.vram", 1, {})
                         .eos()
                         .end()
                         .eos();
  add_devices(two);
  write("mapped_ram", "two-blocks", two.bytes);
  write("mapped_ram", "sections",
        begun(1).mapped_block("a", 1, {}).eos().command(11).part().eos().end().eos().bytes);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  root = argv[1];
  Guest g;
  const uint8_t* note = g.memory.page(frame::kNote);
  write("vmcoreinfo", "healthy", {note, note + strnlen(reinterpret_cast<const char*>(note), kPage)});
  write("btf", "5.10", BtfWriter(linux_5_10()).blob(0));
  write("btf", "6.1", BtfWriter(linux_6_1()).blob(0));
  write("btf", "6.12", BtfWriter(linux_6_12()).blob(0));
  const auto page_word = [&](uint64_t pfn, uint32_t offset) {
    return uint16_t((pfn % 64 * 64 + offset) / 8);
  };
  const uint64_t clean = g.small[0];
  write("guest", "one-reference-more", change(0, clean / 64, page_word(clean, 48), 0x2ffffffff));
  write("guest", "another-mapping", change(0, clean / 64, page_word(clean, 24), g.xfs.mapping));
  write("guest", "a-tree-that-is-a-cycle",
        change(2, (g.gpa(g.word(g.root_slot(g.ext4.mapping)) - 2) / kPage) - frame::kHeap, 5,
               g.word(g.root_slot(g.ext4.mapping))));
  page_table_seed();
  frame_seeds();
  stripe_copy_seeds();
  mapped_ram_seeds();
}
