// SPDX-License-Identifier: Apache-2.0
// A Linux guest made by hand, from page tables to free lists: what a healthy one holds, for a test to break
// one thing of.
#pragma once
#include <memory>

#include "core/image/device_state.hh"
#include "core/pages/inspection.hh"
#include "guest/btf_writer.hh"
#include "guest/memory.hh"
#include "image_builder.hh"

namespace pars::test {

/// Frames of the lowest 16 MiB and what they are for.
namespace frame {
inline constexpr uint64_t kNote = 15, kImage = 256, kRegions = 339, kData = 340, kSwapper = 344,
                          kImageEnd = 352, kTables = 384, kTablesEnd = 448, kProcess = 448, kForgery = 450,
                          kHeap = 512, kHeapEnd = 640, kStructPages = 640, kTaken = 768;
}  // namespace frame
inline constexpr uint64_t kImageVa = kImageMap + 0x1000000;
inline constexpr uint32_t kSectionBits = 27;
inline constexpr const char* kRelease = "6.12.99-hand-made";

struct GuestOptions {
  KernelTypes types = linux_6_12();
  std::vector<uint64_t> cells = {16 * kMiB};  ///< one: pc.ram; more: NUMA nodes with a block each
  bool local_struct_pages = false;  ///< a node's struct pages lie in its own memory, from its first frame on
  bool five_levels = false;
  bool user_half = false;  ///< PTI: the vCPU was saved on the table without the kernel
  uint32_t vcpus = 1;
  size_t btf_bytes = kKernelBtfBytes;
  bool spread = true;  ///< what the cache is held by lies in many pages, enough to prove where they are
  uint64_t dimm = 0;   ///< bytes of a memory device that begins at 4 GiB; none
};

/// What was seen of the guest, with a class for each guest-physical frame.
struct Seen : Inspection {
  std::vector<Segment> segments;
  PageClass at(uint64_t pfn) const {
    for (const Segment& s : segments)
      if (pfn * kPage >= s.gpa && pfn * kPage - s.gpa < s.bytes)
        return classes[s.block][s.block_page + pfn - s.gpa / kPage];
    throw std::out_of_range("not RAM");
  }
  Reason why(uint64_t pfn) const {
    for (const Segment& s : segments)
      if (pfn * kPage >= s.gpa && pfn * kPage - s.gpa < s.bytes)
        return reasons[s.block][s.block_page + pfn - s.gpa / kPage];
    throw std::out_of_range("not RAM");
  }
  uint64_t pages(PageClass c) const { return counts[size_t(c)].pages; }
  uint64_t expendable_pages() const { return pages(PageClass::free_page) + pages(PageClass::clean_cache); }
  uint64_t count(Reason reason) const {
    uint64_t sum = 0;
    for (const auto& by_reason : reason_counts) sum += by_reason[size_t(reason)];
    return sum;
  }
  /// Some page is of its class because of this rule.
  bool names(std::string_view rule) const {
    for (const auto& by_reason : reason_counts)
      for (size_t i = 0; i < kReasons; i++)
        if (by_reason[i] > 0 && facts_of(static_cast<Reason>(i)).rule == rule) return true;
    return false;
  }
};

class Kernel {
 public:
  explicit Kernel(GuestOptions asked = {})
      : options(std::move(asked)),
        domain(make_domain(options)),
        memory(domain, make_blocks(options)),
        tables(memory, options.five_levels, frame::kTables, frame::kTablesEnd - frame::kTables),
        types(options.types) {
    tables.set_tops({frame::kSwapper, frame::kProcess});
    cpus.assign(options.vcpus, {0, 0x80050033, frame::kProcess * kPage | (options.user_half ? 0x1804u : 4u),
                                options.five_levels ? 0x16f0u : 0x6f0u, kImageVa});
    map_memory();
    write_image();
    add_sections();
    add_zones();
    write_note(frame::kNote, note);
  }

  // --- objects, by the names of their types

  void set(const std::string& type, uint64_t va, const std::string& name, uint64_t value) {
    const Field& f = types.field(type, name);
    memory.put(gpa(va) + f.offset, value, f.type.bytes);
  }
  uint64_t get(const std::string& type, uint64_t va, const std::string& name) {
    const Field& f = types.field(type, name);
    return memory.get(gpa(va) + f.offset, f.type.bytes);
  }
  /// A zeroed object in the direct map; none crosses a page.
  uint64_t make(const std::string& type) { return allocate(types.bytes(type)); }
  uint64_t allocate(uint64_t bytes) {
    heap_ = (heap_ + 63) & ~63ull;
    if (heap_ / kPage != (heap_ + bytes - 1) / kPage) heap_ = (heap_ + kPage - 1) & ~(kPage - 1);
    if (heap_ + bytes > frame::kHeapEnd * kPage) throw std::out_of_range("the heap is full");
    const uint64_t at = heap_;
    heap_ += bytes;
    memory.page(at / kPage);
    return kDirectMap + at;
  }
  /// The next object begins a page of its own.
  void begin_page() { heap_ = (heap_ + kPage - 1) & ~(kPage - 1); }
  uint64_t text(std::string_view words) {
    const uint64_t va = allocate(words.size() + 1);
    memory.write(gpa(va), words.data(), words.size());
    return va;
  }
  /// Where the builder put what stands at a kernel address, by its own arithmetic.
  uint64_t gpa(uint64_t va) {
    if (va >= kImageMap) return va - kImageVa + frame::kImage * kPage;
    if (va >= kVmemmap) return struct_page_frame((va - kVmemmap) / 64) * kPage + va % kPage;
    return va - kDirectMap;
  }
  uint64_t image_va(uint64_t pfn) const { return kImageVa + (pfn - frame::kImage) * kPage; }

  // --- struct pages

  uint64_t page_va(uint64_t pfn) const { return kVmemmap + pfn * 64; }
  void set_page(uint64_t pfn, const std::string& name, uint64_t value) {
    set(types.has("page", name) ? "page" : "folio", page_va(pfn), name, value);
  }
  uint64_t get_page(uint64_t pfn, const std::string& name) {
    return get(types.has("page", name) ? "page" : "folio", page_va(pfn), name);
  }
  void flag(uint64_t pfn, const std::string& name, bool on = true) {
    const uint64_t bit = types.bit("pageflags", name), flags = get_page(pfn, "flags");
    set_page(pfn, "flags", on ? flags | bit : flags & ~bit);
  }
  /// "buddy", "offline", "table", "slab" or "hugetlb", as this kernel marks it.
  void mark(uint64_t pfn, const std::string& type) {
    const auto& numbers = types.enums.find("pagetype");
    static const std::map<std::string, uint32_t> bits = {
        {"buddy", ~0x80u}, {"offline", ~0x100u}, {"table", ~0x200u}};
    if (numbers != types.enums.end())
      set_page(pfn, "_mapcount", uint32_t(numbers->second.at("PGTY_" + type)) << 24);
    else if (type == "slab") flag(pfn, "PG_slab");
    else
      set_page(pfn, "_mapcount",
               type == "table" && !types.enums.contains("page_memcg_data_flags") ? ~0x400u : bits.at(type));
  }
  /// Frames of their own, aligned to their number (a power of two).
  uint64_t take(uint64_t frames = 1) {
    taken_ = (taken_ + frames - 1) & ~(frames - 1);
    const uint64_t first = taken_;
    taken_ += frames;
    for (uint64_t pfn = first; pfn < taken_; pfn++) struct_page_frame(pfn);
    return first;
  }

  // --- free memory

  struct Zone {
    uint64_t va, start, end;
  };
  std::vector<Zone> zones;
  uint64_t area(const Zone& zone, uint32_t order) const {
    return zone.va + types.offset("zone", "free_area") + order * types.bytes("free_area");
  }
  void add_free(uint64_t pfn, uint32_t order) {
    mark_free(pfn, order);
    const uint64_t at = area(zone_of(pfn), order);
    push(at + order % kMigrateTypes * 16, page_va(pfn) + types.offset("page", "buddy_list"));
    set("free_area", at, "nr_free", get("free_area", at, "nr_free") + 1);
  }
  void mark_free(uint64_t pfn, uint32_t order) {
    for (uint64_t i = pfn; i < pfn + (1ull << order); i++)
      set_page(i, "_refcount", 0), set_page(i, "flags", 0);
    mark(pfn, "buddy");
    set_page(pfn, "private", order);
    memory.fill(pfn);
  }
  const Zone& zone_of(uint64_t pfn) const {
    for (const Zone& z : zones)
      if (pfn >= z.start && pfn < z.end) return z;
    throw std::out_of_range("in no zone");
  }
  /// The kernel's list_add: behind the head.
  void push(uint64_t head, uint64_t node) {
    const uint64_t next = memory.get(gpa(head), 8);
    memory.put(gpa(node), next, 8), memory.put(gpa(node) + 8, head, 8);
    memory.put(gpa(next) + 8, node, 8), memory.put(gpa(head), node, 8);
  }

  // --- VMCOREINFO

  using Note = std::vector<std::pair<std::string, std::string>>;
  void write_note(uint64_t pfn, const Note& lines) {
    std::string words;
    for (const auto& [key, value] : lines) words += key + "=" + value + "\n";
    std::memset(memory.page(pfn), 0, kPage);
    memory.write(pfn * kPage, words.data(), std::min<size_t>(words.size(), kPage));
  }
  /// Changes a line, or takes it away (nullptr), and writes the note again.
  void say(const std::string& key, const char* value) {
    std::erase_if(note, [&](const auto& line) { return line.first == key; });
    if (value) note.push_back({key, value});
    write_note(frame::kNote, note);
  }

  /// An address as the text has it.
  static std::string hex(uint64_t v) {
    char out[17];
    std::snprintf(out, sizeof out, "%016lx", static_cast<unsigned long>(v));
    return out;
  }

  // --- the look inside

  Seen look(uint64_t head_end = kPage, const InspectOptions& asked = {}) {
    auto& image = memory.image();
    auto& stream = memory.stream();
    stream.ram_end = image.size();
    stream.vmcoreinfo.clear();
    for (uint64_t at = kPage; at < stream.ram_end; at += kPage)
      if (std::memcmp(&image[at], "OSRELEASE=", 10) == 0 && stream.vmcoreinfo.size() < kMaxVmcoreinfo)
        stream.vmcoreinfo.push_back(at);
    ImageBuilder devices;
    std::vector<std::string> descriptions;
    for (uint32_t i = 0; i < cpus.size(); i++) {
      devices.device("cpu", i, vcpu_contents(cpus[i].cr0, cpus[i].cr3, cpus[i].cr4, cpus[i].rip), 100 + i);
      descriptions.push_back(vcpu_description(i));
    }
    devices.description(description_of(descriptions));
    image.insert(image.end(), devices.bytes.begin(), devices.bytes.end());
    Seen seen{inspect(image, domain, stream, head_end, asked), memory.segments()};
    image.resize(stream.ram_end);
    return seen;
  }

  GuestOptions options;
  DomainXml domain;
  GuestMemory memory;
  PageTables tables;
  KernelTypes types;
  Note note;
  std::vector<Vcpu> cpus;
  uint64_t btf_frame = frame::kImage + 1;

 private:
  static DomainXml make_domain(const GuestOptions& o) {
    DomainXml d;
    d.name = "hand-made", d.uuid = kUuid, d.architecture = "x86_64", d.machine = "pc-i440fx-7.2";
    for (uint32_t i = 0; i < o.cells.size(); i++) d.memory_bytes += o.cells[i];
    for (uint32_t i = 0; o.cells.size() > 1 && i < o.cells.size(); i++)
      d.numa_cells.push_back({i, o.cells[i]});
    if (o.dimm != 0)
      d.memory_bytes += o.dimm, d.memory_devices.push_back({"dimm", "memdimm0", o.dimm, 4 * kGiB});
    return d;
  }
  static std::vector<std::pair<std::string, uint64_t>> make_blocks(const GuestOptions& o) {
    std::vector<std::pair<std::string, uint64_t>> blocks;
    if (o.cells.size() == 1) blocks = {{"pc.ram", o.cells[0]}, {"vga.vram", kMiB}};
    if (o.dimm != 0) blocks.push_back({"memdimm0", o.dimm});
    if (o.cells.size() == 1) return blocks;
    for (uint32_t i = 0; i < o.cells.size(); i++)
      blocks.push_back({"ram-node" + std::to_string(i), o.cells[i]});
    return blocks;
  }

  void map_memory() {
    for (const Segment& s : memory.segments())
      for (uint64_t at = s.gpa; at < s.gpa + s.bytes;) {
        const int level = at % kGiB == 0 && s.gpa + s.bytes - at >= kGiB ? 3 : 2;
        tables.map(kDirectMap + at, at, kWritable, level);
        at += level == 3 ? kGiB : 2 * kMiB;
      }
    for (uint64_t pfn = frame::kImage; pfn < frame::kImageEnd; pfn++)
      tables.map(image_va(pfn), pfn * kPage, pfn < frame::kData ? 0 : kWritable);
    memory.page(frame::kProcess), memory.page(frame::kProcess + 1);
    for (const Segment& s :
         memory.segments())  // small guests have all their struct pages, huge ones those in use
      for (uint64_t pfn = s.gpa / kPage; pfn < (s.bytes <= 64 * kMiB ? (s.gpa + s.bytes) / kPage : 4096);
           pfn += 64)
        struct_page_frame(pfn);
  }

  /// The frame that holds a frame's struct page; it is made when first asked for, its pages in use by the
  /// kernel.
  uint64_t struct_page_frame(uint64_t pfn) {
    auto [at, fresh] = struct_pages_.try_emplace(pfn / 64, 0);
    if (!fresh) return at->second;
    const uint64_t home = at->second = next_home(pfn);
    tables.map(page_va(pfn) & ~(kPage - 1), home * kPage, kWritable);
    for (uint64_t i = 0; i < 64; i++) {
      memory.put(home * kPage + 64 * i + types.offset("page", "_mapcount"), 0xffffffff, 4);
      memory.put(home * kPage + 64 * i + types.offset("page", "_refcount"), 1, 4);
    }
    return home;
  }

  uint64_t next_home(uint64_t pfn) {
    const auto& segments = memory.segments();
    for (size_t i = 1; options.local_struct_pages && i < segments.size(); i++)
      if (pfn * kPage >= segments[i].gpa && pfn * kPage - segments[i].gpa < segments[i].bytes)
        return segments[i].gpa / kPage + (pfn - segments[i].gpa / kPage) / 64;
    if (homes_ == frame::kTaken) throw std::out_of_range("no frame left for struct pages");
    return homes_++;
  }

  void write_image() {
    memory.fill(frame::kImage);
    for (uint64_t i = 0; uint64_t base : {kDirectMap, kVmalloc, kVmemmap})
      memory.put(frame::kRegions * kPage + 512 + 8 * i++, base, 8);
    const std::vector<uint8_t> blob = BtfWriter(types).blob(options.btf_bytes);
    memory.write(btf_frame * kPage + 8, blob.data(),
                 blob.size());  // aligned to nothing larger than a word, as the real one
    const uint64_t uts = image_va(frame::kData) + 512, nodes = image_va(frame::kData) + 1024;
    memory.write(gpa(uts) + types.offset("uts_namespace", "name") + types.offset("new_utsname", "release"),
                 kRelease, std::strlen(kRelease));
    note = {{"OSRELEASE", kRelease},
            {"PAGESIZE", "4096"},
            {"SYMBOL(init_uts_ns)", hex(uts)},
            {"SYMBOL(swapper_pg_dir)", hex(image_va(frame::kSwapper))},
            {"SYMBOL(_stext)", hex(kImageVa)},
            {"SYMBOL(node_data)", hex(nodes)},
            {"LENGTH(node_data)", "64"},
            {"NUMBER(phys_base)", std::to_string(int64_t(frame::kImage * kPage) - 0x1000000)},
            {"NUMBER(pgtable_l5_enabled)", options.five_levels ? "1" : "0"},
            {"NUMBER(SECTION_SIZE_BITS)", std::to_string(kSectionBits)},
            {"NUMBER(KERNEL_IMAGE_SIZE)", "1073741824"},
            {"SIZE(page)", "64"},
            {"OFFSET(page.flags)", "0"},
            {"OFFSET(page._refcount)", "52"}};
    if (!types.enums.contains("pagetype"))
      note.push_back({"NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", "-129"}),
          note.push_back({"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)", "-257"});
  }

  void add_sections() {
    const uint64_t per_row = kPage / types.bytes("mem_section"), roots = 64;
    const uint64_t root = allocate(8 * roots);
    note.push_back({"SYMBOL(mem_section)", hex(root)}),
        note.push_back({"LENGTH(mem_section)", std::to_string(roots)});
    note.push_back({"SIZE(mem_section)", std::to_string(types.bytes("mem_section"))});
    sections = allocate(kPage);
    memory.put(gpa(root), sections, 8);
    for (const Segment& s : memory.segments())
      for (uint64_t i = s.gpa >> kSectionBits; i <= (s.gpa + s.bytes - 1) >> kSectionBits && i < per_row; i++)
        set("mem_section", sections + i * types.bytes("mem_section"), "section_mem_map", kVmemmap | 0xf);
  }

  /// Zones as the kernel has them: DMA and what lies above in the first node, one zone in the others.
  void add_zones() {
    uint64_t node_table = gpa(image_va(frame::kData) + 1024);
    uint64_t start = 0;
    for (const Segment& s : memory.segments()) {
      const uint64_t end = (s.gpa + s.bytes) / kPage;
      const uint64_t node = make("pglist_data");
      memory.put(node_table, node, 8), node_table += 8;
      if (start == 0) add_zone(node, 0, 1, 1024), start = 1024;
      add_zone(node, 1, start, end);
      start = end;
    }
  }
  void add_zone(uint64_t node, uint32_t number, uint64_t start, uint64_t end) {
    const Zone zone{node + types.offset("pglist_data", "node_zones") + number * types.bytes("zone"), start,
                    end};
    set("zone", zone.va, "zone_start_pfn", start), set("zone", zone.va, "spanned_pages", end - start);
    for (uint32_t order = 0; order < kOrders; order++)
      for (uint32_t type = 0; type < kMigrateTypes; type++) {
        const uint64_t head = area(zone, order) + 16 * type;
        memory.put(gpa(head), head, 8), memory.put(gpa(head) + 8, head, 8);
      }
    zones.push_back(zone);
  }

  uint64_t heap_ = frame::kHeap * kPage, taken_ = frame::kTaken, homes_ = frame::kStructPages;
  std::map<uint64_t, uint64_t> struct_pages_;

 public:
  uint64_t sections = 0;  ///< the row of struct mem_section
};

}  // namespace pars::test
