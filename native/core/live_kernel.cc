#include "core/live_kernel.hh"

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>

namespace pars {

namespace {

constexpr uint64_t kImageMap = 0xffffffff80000000;      // __START_KERNEL_map
constexpr uint64_t kTableAddress = 0x000ffffffffff000;  // CR3 bits 12..51: drops PCID and LAM
constexpr uint64_t kAccessedDirty = 0x60;
constexpr uint64_t kLa57 = 1ull << 12;                  // CR4
constexpr uint64_t kDefaultImageBytes = 512ull << 20, kMaxImageBytes = 1ull << 30;  // KERNEL_IMAGE_SIZE

constexpr size_t kMaxTexts = 4096;

/// One text that may be the kernel's VMCOREINFO, and where in guest RAM it lies: a process can plant any number of copies, and
/// copies of one text need no judgement each.
struct Candidate {
  Bytes page;
  std::vector<uint64_t> gpas;
};

std::string_view text_of(Bytes page) {
  const std::string_view text(reinterpret_cast<const char*>(page.data()), page.size());
  return text.substr(0, text.find('\0'));
}

/// Payloads that begin with OSRELEASE= and are what guest RAM holds now (a later record may have replaced them), by text, at most
/// kMaxTexts of them.
std::vector<Candidate> current_candidates(const GuestRam& ram) {
  std::vector<uint64_t> wanted = ram.stream().vmcoreinfo;
  std::sort(wanted.begin(), wanted.end());
  std::vector<Candidate> found;
  std::unordered_map<std::string_view, size_t> known;
  if (wanted.empty()) return found;
  for (const Segment& s : ram.segments()) {
    const auto& pages = ram.stream().blocks[s.block].pages;
    for (uint64_t i = 0; i < s.bytes / kPageSize; i++) {
      const PageLocation at = pages[s.block_page + i];
      if (at < wanted.front() || at > wanted.back()) continue;
      if (!std::binary_search(wanted.begin(), wanted.end(), at)) continue;
      const Bytes page = ram.image().subspan(at, kPageSize);
      const std::string_view text = text_of(page);
      auto place = known.find(text);
      if (place == known.end()) {
        if (found.size() == kMaxTexts) continue;
        place = known.emplace(text, found.size()).first;
        found.push_back({page, {}});
      }
      found[place->second].gpas.push_back(s.gpa + i * kPageSize);
    }
  }
  return found;
}

bool same_kernel_half(const uint8_t* a, const uint8_t* b) {
  for (int i = 256; i < 512; i++) {
    const uint64_t x = load_le<uint64_t>(a + 8 * i), y = load_le<uint64_t>(b + 8 * i);
    if ((x ^ y) & ~kAccessedDirty) return false;
  }
  return true;
}

/// The top-level table of this vCPU that shares its kernel half with `swapper`: the page at CR3, or the page below when PTI has
/// switched to the user half (Linux arch/x86/mm/pti.c: the user table is the kernel's, bit 12 set).
std::optional<uint64_t> matching_table(const GuestRam& ram, const Vcpu& vcpu, const uint8_t* swapper) {
  const uint64_t table = vcpu.cr3 & kTableAddress;
  const uint8_t* page = ram.page(table);
  if (page && same_kernel_half(page, swapper)) return table;
  if (!(table & kPageSize)) return std::nullopt;
  page = ram.page(table & ~kPageSize);
  if (page && same_kernel_half(page, swapper)) return table & ~kPageSize;
  return std::nullopt;
}

bool in_image(uint64_t va, uint64_t image_bytes) { return va >= kImageMap && va - kImageMap < image_bytes; }

/// One of the two sizes there are (with and without KASLR), so that notes that lie in many ways do not cost a search each.
uint64_t image_bytes(const Vmcoreinfo& info) {
  const auto told = info.number("KERNEL_IMAGE_SIZE").value_or(0);
  return told >= static_cast<int64_t>(kMaxImageBytes) ? kMaxImageBytes : kDefaultImageBytes;
}

/// One paging vCPU's table, with every other vCPU agreeing or not paging yet; the reason when not.
struct Tables {
  uint64_t top = 0;
  std::string problem;
};

Tables live_tables(const GuestRam& ram, const std::vector<Vcpu>& vcpus, const uint8_t* swapper, bool five_levels) {
  Tables out;
  for (const Vcpu& vcpu : vcpus) {
    if (!vcpu.paging()) continue;
    auto table = matching_table(ram, vcpu, swapper);
    if (!table) return {0, "vCPU " + std::to_string(vcpu.instance) + " runs on page tables of something else"};
    if (bool(vcpu.cr4 & kLa57) != five_levels)
      return {0, "vCPU " + std::to_string(vcpu.instance) + " and VMCOREINFO disagree on 5-level paging"};
    out.top = *table;
  }
  if (out.top == 0) out.problem = "no vCPU has paging on";
  return out;
}

std::string check_symbols(const KernelMemory& memory, const Vmcoreinfo& info, uint64_t swapper_va, uint64_t swapper_gpa) {
  if (memory.translate(swapper_va) != swapper_gpa) return "swapper_pg_dir is not where phys_base says";
  for (const char* name : {"_stext", "init_uts_ns"}) {
    auto va = info.symbol(name);
    if (!va || !in_image(*va, image_bytes(info)) || !memory.translate(*va)) return std::string(name) + " is outside the kernel image";
  }
  auto nodes = info.symbol("node_data");
  if (!nodes) nodes = info.symbol("contig_page_data");
  if (!nodes || !in_image(*nodes, image_bytes(info))) return "the node data is outside the kernel image";
  return "";
}

/// The kernel's BTF lies in the read-only part of its image. Nothing found elsewhere counts: the page cache holds other kernels' files.
std::optional<Btf> btf_at(const KernelMemory& memory, uint64_t va) {
  uint8_t header[24];
  if (!memory.read(va, header, sizeof header)) return std::nullopt;
  const uint64_t bytes = Btf::blob_bytes({header, sizeof header});
  if (bytes < (256u << 10)) return std::nullopt;
  for (uint64_t at = va & ~(kPageSize - 1); at < va + bytes; at += kPageSize) {
    const TableEntry entry = memory.walk(at);
    if (!entry.present || entry.writable) return std::nullopt;
  }
  std::vector<uint8_t> blob(bytes);
  if (!memory.read(va, blob.data(), bytes)) return std::nullopt;
  auto btf = Btf::parse(std::move(blob));
  return btf ? std::optional(std::move(*btf)) : std::nullopt;
}

constexpr uint32_t kBtfMagic = 0x0001eb9f;
constexpr int kMaxBtfTries = 64;

KernelBtf find_btf(const KernelMemory& memory, uint64_t bytes) {
  int tries = 0;
  for (uint64_t va = kImageMap; va < kImageMap + bytes;) {
    const TableEntry entry = memory.walk(va);
    if (!entry.present || entry.writable) {
      const uint64_t next = (va & ~(entry.bytes - 1)) + entry.bytes;
      if (next <= va) break;  // a missing entry reaches to the end of the address space
      va = next;
      continue;
    }
    const uint8_t* page = memory.ram().page(entry.gpa);
    for (uint32_t i = 0; page && i < kPageSize; i += 4) {
      if (load_le<uint32_t>(page + i) != kBtfMagic) continue;
      if (++tries > kMaxBtfTries) return {};
      if (auto btf = btf_at(memory, va + i)) return {std::make_shared<const Btf>(std::move(*btf)), va + i};
    }
    va += kPageSize;
  }
  return {};
}

/// OSRELEASE must be what the running kernel calls itself: init_uts_ns.name.release.
bool names_itself(const KernelMemory& memory, const Vmcoreinfo& info, const Btf& btf) {
  auto at = btf.member("uts_namespace", "name.release");
  if (!at) return false;
  auto text = memory.text(*info.symbol("init_uts_ns") + at->offset, 65);
  return text && *text == info.release();
}

struct Judged {
  std::optional<LiveKernel> kernel;
  std::string problem;
};

/// The kernel image behind one set of page tables: found once, however many VMCOREINFO notes claim it.
struct Image {
  std::shared_ptr<const KernelMemory> memory;
  KernelBtf btf;
};

class Images {
 public:
  explicit Images(const GuestRam& ram) : ram_(ram) {}
  const Image& at(uint64_t top_table, bool five_levels, uint64_t bytes) {
    auto [entry, fresh] = images_.try_emplace({top_table, five_levels, bytes});
    if (fresh) {
      entry->second.memory = std::make_shared<KernelMemory>(ram_, top_table, five_levels);
      entry->second.btf = find_btf(*entry->second.memory, bytes);
    }
    return entry->second;
  }

 private:
  const GuestRam& ram_;
  std::map<std::tuple<uint64_t, bool, uint64_t>, Image> images_;
};

Judged judge(const GuestRam& ram, const std::vector<Vcpu>& vcpus, const Vmcoreinfo& info, Images& images) {
  auto swapper_va = info.symbol("swapper_pg_dir");
  auto phys_base = info.number("phys_base");
  if (!swapper_va || !phys_base) return {std::nullopt, "its VMCOREINFO names no swapper_pg_dir or phys_base"};
  const uint64_t swapper_gpa = *swapper_va - kImageMap + static_cast<uint64_t>(*phys_base);
  const uint8_t* swapper = swapper_gpa % kPageSize == 0 ? ram.page(swapper_gpa) : nullptr;
  if (!swapper) return {std::nullopt, "its swapper_pg_dir is outside RAM"};
  const bool five_levels = info.number("pgtable_l5_enabled").value_or(0) != 0;
  const Tables tables = live_tables(ram, vcpus, swapper, five_levels);
  if (!tables.problem.empty()) return {std::nullopt, tables.problem};
  const Image& image = images.at(tables.top, five_levels, image_bytes(info));
  const std::shared_ptr<const KernelMemory>& memory = image.memory;
  if (auto why = check_symbols(*memory, info, *swapper_va, swapper_gpa); !why.empty()) return {std::nullopt, why};
  const std::shared_ptr<const Btf>& btf = image.btf.types;
  if (!btf) return {std::nullopt, "the running kernel " + std::string(info.release()) + " has no BTF in its image"};
  if (!names_itself(*memory, info, *btf)) return {std::nullopt, "OSRELEASE is not what the kernel calls itself"};
  LayoutResult layout = resolve_layout(*btf, info);
  if (!layout.layout) return {std::nullopt, layout.problem};
  return {LiveKernel{std::string(info.release()), info, memory, *layout.layout, image.btf, {}}, ""};
}

}  // namespace

LiveKernelResult prove_live_kernel(const GuestRam& ram, const std::vector<Vcpu>& vcpus) {
  LiveKernelResult out;
  if (vcpus.empty()) return {{}, "the device state holds no vCPU"};
  Images images(ram);
  uint64_t seen = 0;
  for (Candidate& candidate : current_candidates(ram)) {
    auto info = Vmcoreinfo::parse(candidate.page);
    if (!info) continue;
    seen++;
    Judged judged = judge(ram, vcpus, *info, images);
    if (!judged.kernel) {
      out.problem = judged.problem;
      continue;
    }
    judged.kernel->vmcoreinfo_gpas = std::move(candidate.gpas);
    out.kernels.push_back(std::move(*judged.kernel));
  }
  if (seen == 0) out.problem = "no Linux kernel's VMCOREINFO is in guest RAM";
  return out;
}

}  // namespace pars
