// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/live_kernel.hh"

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "core/kernel/kernel_image.hh"
#include "core/kernel/page_array.hh"

namespace pars {

namespace {

constexpr uint64_t kTableAddress = 0x000ffffffffff000;  // CR3 bits 12..51: drops PCID and LAM
constexpr uint64_t kAccessedDirty = 0x60;
constexpr uint64_t kLa57 = 1ull << 12;                                              // CR4
constexpr uint64_t kDefaultImageBytes = 512ull << 20, kMaxImageBytes = 1ull << 30;  // KERNEL_IMAGE_SIZE

constexpr size_t kMaxTexts = 4096;

/// One text that may be the kernel's VMCOREINFO, and where in guest RAM it lies: a process can plant any
/// number of copies, and copies of one text need no judgement each.
struct Candidate {
  Bytes page;
  std::vector<uint64_t> gpas;
};

std::string_view text_of(Bytes page) {
  const std::string_view text(reinterpret_cast<const char*>(page.data()), page.size());
  return text.substr(0, text.find('\0'));
}

/// Payloads that begin with OSRELEASE= and are what guest RAM holds now (a later record may have replaced
/// them), by text. Nullopt when there are more than are looked at: whoever planted so many may hide the
/// kernel's own behind them.
std::optional<std::vector<Candidate>> current_candidates(const GuestRam& ram) {
  std::vector<uint64_t> wanted = ram.stream().vmcoreinfo;
  if (wanted.size() >= kMaxVmcoreinfo) return std::nullopt;
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
        if (found.size() == kMaxTexts) return std::nullopt;
        place = known.emplace(text, found.size()).first;
        found.push_back({page, {}});
      }
      found[place->second].gpas.push_back(s.gpa + i * kPageSize);
    }
  }
  return found;
}

/// How a top-level table compares with the kernel's own, in its kernel half.
enum class Likeness : uint8_t {
  same,
  but_for_one,  ///< which the kernel gives some tables of its own
  other
};

// Entries that not all tables of one kernel share (Linux arch/x86/include/asm/pgtable_64_types.h): a
// process's own descriptors, with page-table isolation, where swapper_pg_dir has none; and, while the
// firmware runs, its services beside the kernel's image (arch/x86/platform/efi/efi_64.c,
// efi_sync_low_kernel_mappings).
constexpr int kLdtEntry = 512 - 240, kLdtEntryOfFive = 512 - 112, kFirmwareEntry = 511;

Likeness likeness(const uint8_t* table, const uint8_t* swapper, bool five_levels) {
  int differing = 0, at = 0;
  for (int i = 256; i < 512 && differing < 2; i++) {
    const uint64_t x = load_le<uint64_t>(table + 8 * i), y = load_le<uint64_t>(swapper + 8 * i);
    if ((x ^ y) & ~kAccessedDirty) differing++, at = i;
  }
  if (differing == 0) return Likeness::same;
  const bool descriptors =
      at == (five_levels ? kLdtEntryOfFive : kLdtEntry) && load_le<uint64_t>(swapper + 8 * at) == 0;
  return differing == 1 && (descriptors || at == kFirmwareEntry) ? Likeness::but_for_one : Likeness::other;
}

struct VcpuTable {
  uint64_t gpa = 0;
  Likeness likeness = Likeness::other;
};

/// The top-level table of this vCPU that is most like `swapper`: the page at CR3, or the page below when PTI
/// has switched to the user half (Linux arch/x86/mm/pti.c: the user table is the kernel's, bit 12 set).
VcpuTable table_of(const GuestRam& ram, const Vcpu& vcpu, const uint8_t* swapper, bool five_levels) {
  VcpuTable best;
  const uint64_t table = vcpu.cr3 & kTableAddress;
  for (uint64_t gpa : {table, table & ~kPageSize}) {
    const uint8_t* page = ram.page(gpa);
    const Likeness found = page ? likeness(page, swapper, five_levels) : Likeness::other;
    if (found < best.likeness) best = {gpa, found};
  }
  return best;
}

bool in_image(uint64_t va, uint64_t image_bytes) { return va >= kImageMap && va - kImageMap < image_bytes; }

/// One of the two sizes there are (with and without KASLR), so that notes that lie in many ways do not cost a
/// search each.
uint64_t image_bytes(const Vmcoreinfo& info) {
  const auto told = info.number("KERNEL_IMAGE_SIZE").value_or(0);
  return told >= static_cast<int64_t>(kMaxImageBytes) ? kMaxImageBytes : kDefaultImageBytes;
}

/// One paging vCPU's table, with every other vCPU agreeing or not paging yet; the reason when not.
struct Tables {
  uint64_t top = 0;
  std::string problem;
};

/// A vCPU whose table has an entry of its own is one of this kernel's, but proves nothing: another one must.
Tables live_tables(const GuestRam& ram, const std::vector<Vcpu>& vcpus, const uint8_t* swapper,
                   bool five_levels) {
  Tables out;
  const Vcpu* unproving = nullptr;
  const auto fails = [](const Vcpu& vcpu, const char* how) {
    return Tables{0, "vCPU " + std::to_string(vcpu.instance) + how};
  };
  for (const Vcpu& vcpu : vcpus) {
    if (!vcpu.paging()) continue;
    const VcpuTable table = table_of(ram, vcpu, swapper, five_levels);
    if (table.likeness == Likeness::other) return fails(vcpu, " runs on page tables of something else");
    if (bool(vcpu.cr4 & kLa57) != five_levels)
      return fails(vcpu, " and VMCOREINFO disagree on 5-level paging");
    if (table.likeness == Likeness::same) out.top = table.gpa;
    else unproving = &vcpu;
  }
  if (out.top == 0 && unproving)
    return fails(*unproving, " runs on page tables that differ from the kernel's, and no other proves it");
  if (out.top == 0) out.problem = "no vCPU has paging on";
  return out;
}

std::string check_symbols(const KernelMemory& memory, const Vmcoreinfo& info, uint64_t swapper_va,
                          uint64_t swapper_gpa) {
  if (memory.translate(swapper_va) != swapper_gpa) return "swapper_pg_dir is not where phys_base says";
  for (const char* name : {"_stext", "init_uts_ns"}) {
    auto va = info.symbol(name);
    if (!va || !in_image(*va, image_bytes(info)) || !memory.translate(*va))
      return std::string(name) + " is outside the kernel image";
  }
  auto table = info.symbol("node_data"), single = info.symbol("contig_page_data");  // no kernel has both
  auto nodes = table ? table : single;
  if (!nodes || (table && single) || !in_image(*nodes, image_bytes(info)))
    return "the node data is outside the kernel image";
  return "";
}

/// A kernel image and what its types tell. All of it is found out once, however many VMCOREINFO texts claim
/// it: a guest's root can make types that take long to search.
struct KnownImage {
  KernelImage image;
  std::optional<uint32_t> release_at;  ///< uts_namespace.name.release
  Believed<KernelLayout> layout;
};

KnownImage get_to_know(KernelImage image) {
  KnownImage known{std::move(image), std::nullopt, Disbelief{}};
  const Btf* types = known.image.btf.types.get();
  const auto at = types ? types->member("uts_namespace", "name.release") : BtfAnswer<BtfMember>::absent();
  if (!at) return known;
  known.release_at = at->offset;
  known.layout = layout_of_types(*types);
  return known;
}

/// OSRELEASE must be what the running kernel calls itself: init_uts_ns.name.release.
bool names_itself(const KnownImage& known, const Vmcoreinfo& info) {
  if (!known.release_at) return false;
  auto text = known.image.memory->text(*info.symbol("init_uts_ns") + *known.release_at, 65);
  return text && *text == info.release();
}

/// VMCOREINFO leads to the page array by an address in ordinary memory, which a process's text can have lead
/// to memory of its own.
std::string check_page_array(const KernelImage& image, const Vmcoreinfo& info, const KernelLayout& layout) {
  const auto base = PageArray::base(*image.memory, info, layout);
  if (base && *base != image.page_array) return "the struct page array is not where the kernel keeps it";
  return base.why();
}

/// The kernel images behind the vCPUs' page tables.
class Images {
 public:
  explicit Images(const GuestRam& ram) : ram_(ram) {}
  const KnownImage& at(uint64_t top_table, bool five_levels, uint64_t bytes) {
    const std::tuple key(top_table, five_levels, bytes);
    auto entry = images_.find(key);
    if (entry == images_.end()) {
      auto memory = std::make_shared<KernelMemory>(ram_, top_table, five_levels);
      entry = images_.emplace(key, get_to_know(look_through_image(std::move(memory), bytes))).first;
    }
    return entry->second;
  }

 private:
  const GuestRam& ram_;
  std::map<std::tuple<uint64_t, bool, uint64_t>, KnownImage> images_;
};

Believed<LiveKernel> judge(const GuestRam& ram, const std::vector<Vcpu>& vcpus, const Vmcoreinfo& info,
                           Images& images) {
  auto swapper_va = info.symbol("swapper_pg_dir");
  auto phys_base = info.number("phys_base");
  if (!swapper_va || !phys_base) return Disbelief{"its VMCOREINFO names no swapper_pg_dir or phys_base"};
  const uint64_t swapper_gpa = *swapper_va - kImageMap + static_cast<uint64_t>(*phys_base);
  const uint8_t* swapper = swapper_gpa % kPageSize == 0 ? ram.page(swapper_gpa) : nullptr;
  if (!swapper) return Disbelief{"its swapper_pg_dir is outside RAM"};
  const bool five_levels = info.number("pgtable_l5_enabled").value_or(0) != 0;
  const Tables tables = live_tables(ram, vcpus, swapper, five_levels);
  if (!tables.problem.empty()) return Disbelief{tables.problem};
  const KnownImage& known = images.at(tables.top, five_levels, image_bytes(info));
  const std::shared_ptr<const KernelMemory>& memory = known.image.memory;
  if (auto why = check_symbols(*memory, info, *swapper_va, swapper_gpa); !why.empty()) return Disbelief{why};
  if (!known.image.btf.types)
    return Disbelief{"the running kernel " + std::string(info.release()) + " has no BTF in its image"};
  if (!names_itself(known, info)) return Disbelief{"OSRELEASE is not what the kernel calls itself"};
  if (!known.layout) return Disbelief{known.layout.why()};
  auto layout = with_note(*known.layout, info);
  if (!layout) return Disbelief{layout.why()};
  if (auto why = check_page_array(known.image, info, *layout); !why.empty()) return Disbelief{why};
  return LiveKernel{std::string(info.release()), info, memory, std::move(*layout), known.image.btf, {}};
}

}  // namespace

Believed<LiveKernel> prove_live_kernel(const GuestRam& ram, const std::vector<Vcpu>& vcpus) {
  if (vcpus.empty()) return Disbelief{"the device state holds no vCPU"};
  auto candidates = current_candidates(ram);
  if (!candidates) return Disbelief{"guest RAM holds too many pages that look like VMCOREINFO"};
  std::optional<LiveKernel> found;
  std::string problem = "no Linux kernel's VMCOREINFO is in guest RAM";
  Images images(ram);
  for (Candidate& candidate : *candidates) {
    auto info = Vmcoreinfo::parse(candidate.page);
    if (!info) continue;
    auto judged = judge(ram, vcpus, *info, images);
    if (!judged) {
      problem = judged.why();
      continue;
    }
    // In copies of the same text nothing can differ. Of two texts one is forged, and nothing tells which.
    if (found) return Disbelief{"two different VMCOREINFO texts agree with the running kernel"};
    found = std::move(*judged);
    found->vmcoreinfo_gpas = std::move(candidate.gpas);
  }
  if (!found) return Disbelief{problem};
  return std::move(*found);
}

}  // namespace pars
