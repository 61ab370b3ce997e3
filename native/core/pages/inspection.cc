// SPDX-License-Identifier: Apache-2.0
#include "core/pages/inspection.hh"

#include <algorithm>

#include "core/image/device_state.hh"
#include "core/kernel/guest_ram.hh"
#include "core/kernel/live_kernel.hh"
#include "core/kernel/page_array.hh"
#include "core/pages/classify.hh"
#include "core/pages/free_memory.hh"
#include "core/pages/page_cache.hh"
#include "core/pages/segment_proofs.hh"

namespace pars {

namespace {

constexpr uint64_t kUnprovenPerMille = 1;  // R5: 0.1 %

/// What one believed reading of the guest's memory yields.
struct Reading {
  std::string release;
  std::string cache_problem, unknown_member;
  Classified classified;
};

/// The kernel keeps its VMCOREINFO in a page of its own; a forgery lies in memory of a process or a file.
bool is_kernel_page(const PageArray& array, uint64_t gpa) {
  auto page = array.at(gpa / kPageSize);
  return page && page->mapping() == 0 && !page->has(array.layout().flag.lru) && page->refcount() > 0;
}

bool any_is_kernel_page(const PageArray& array, const std::vector<uint64_t>& gpas) {
  return std::any_of(gpas.begin(), gpas.end(), [&](uint64_t gpa) { return is_kernel_page(array, gpa); });
}

/// A struct page whose block is on its zone's list.
void add_free_list_proofs(const PageArray& array, const FreeMemory& free, SegmentProofs& proofs) {
  for (const FreeBlock& block : free.blocks) proofs.add(array.home(block.pfn));
}

/// The entries that recovery writes into must themselves be critical.
bool struct_pages_are_critical(const PageArray& array, const std::vector<Classification>& classifications) {
  for (uint64_t pfn = 0; pfn < array.end(); pfn += kPageSize / kStructPageBytes) {
    const uint64_t home = array.home(pfn) / kPageSize;
    if (array.at(pfn) && home < classifications.size() && expendable(classifications[home].page_class))
      return false;
  }
  return true;
}

Believed<Reading> read_kernel(const GuestRam& ram, const LiveKernel& kernel, uint64_t vcpus,
                              uint64_t head_end, const ReadingObserver& observer) {
  auto array = PageArray::find(*kernel.memory, kernel.info, kernel.layout);
  if (!array) return Disbelief{array.why()};
  if (!any_is_kernel_page(*array, kernel.vmcoreinfo_gpas))
    return Disbelief{"the VMCOREINFO found is not the kernel's own"};
  const auto free = read_free_memory(*kernel.memory, kernel.info, kernel.layout, *array, vcpus);
  if (!free) return Disbelief{free.why() + " (R4)"};
  ModuleTypes modules(*kernel.memory, kernel.btf);
  SegmentProofs proofs(ram);
  std::optional<PageCache> cache;
  if (kernel.layout.cache) cache.emplace(*kernel.memory, *kernel.layout.cache, *array, modules, proofs);
  Reading reading;
  reading.release = kernel.release;
  reading.cache_problem = kernel.layout.cache_problem;
  const RecoveryPlanner planner(*kernel.memory, *array, kernel.layout.private_state, head_end);
  Classifier classifier(*kernel.memory, *array, *free, cache ? &*cache : nullptr, planner);
  classifier.judge();
  add_free_list_proofs(*array, *free, proofs);
  const PresentSections present = present_sections(*kernel.memory, kernel.info, kernel.layout);
  reading.classified = classifier.plan(proven_segments(ram, proofs, present));
  if (cache) reading.unknown_member = cache->unknown_member();
  const Classified& c = reading.classified;
  if (c.cache_folios_unproven * 1000 > c.cache_folios * kUnprovenPerMille)
    return Disbelief{std::to_string(c.cache_folios_unproven) + " of " + std::to_string(c.cache_folios) +
                     " cache folios are not in their mapping's tree (R5)"};
  if (!struct_pages_are_critical(*array, c.classifications))
    return Disbelief{"the struct page array lies in memory it calls expendable"};
  if (observer)
    observer({*kernel.memory, kernel.layout, *array, reading.classified.classifications, modules});
  return reading;
}

void take(Inspection& out, uint32_t block, uint64_t page, Classification classification) {
  out.classes[block][page] = classification.page_class;
  out.reasons[block][page] = classification.reason;
}

void classes_from_reading(const GuestRam& ram, const Reading& reading, Inspection& out) {
  const std::vector<Classification>& classifications = reading.classified.classifications;
  for (size_t i = 0; i < ram.segments().size(); i++) {
    const Segment& s = ram.segments()[i];
    const uint64_t first = s.gpa / kPageSize, pages = s.bytes / kPageSize;
    for (uint64_t p = 0; p < pages; p++) {
      Classification classification{PageClass::kernel, Reason::no_struct_page};
      if (first + p < classifications.size()) classification = classifications[first + p];
      take(out, s.block, s.block_page + p, classification);
    }
  }
}

/// Every page of guest RAM kernel, every other block device: what holds before, and without, a believed
/// reading.
void assume_critical(const MigrationStream& stream, const std::vector<Segment>& segments, Inspection& out) {
  out.classes.resize(stream.blocks.size());
  out.reasons.resize(stream.blocks.size());
  for (size_t i = 0; i < stream.blocks.size(); i++) {
    const bool laid_out =
        std::any_of(segments.begin(), segments.end(), [&](const Segment& s) { return s.block == i; });
    const bool named_ram =
        stream.blocks[i].name == "pc.ram" || stream.blocks[i].name.rfind("ram-node", 0) == 0;
    const bool guest_ram = laid_out || named_ram;
    out.classes[i].assign(stream.blocks[i].pages.size(), guest_ram ? PageClass::kernel : PageClass::device);
    out.reasons[i].assign(stream.blocks[i].pages.size(),
                          guest_ram ? Reason::not_introspected : Reason::not_guest_ram);
  }
}

void count_page(Bytes image, const FillCandidates& fills, PageLocation at, ClassCount& count) {
  count.pages++;
  if (at == kZeroPage) {
    count.zero_pages++;
    return;
  }
  const uint8_t* page = image.data() + at;
  if (!fills.may_be(at) || !is_fill(page)) count.payload_pages++;
  else if (load_le<uint64_t>(page) == 0) count.zero_pages++;
  else count.fill_pages++;
}

void count_classes(Bytes image, const MigrationStream& stream, Inspection& out) {
  for (size_t b = 0; b < stream.blocks.size(); b++)
    for (uint64_t p = 0; p < stream.blocks[b].pages.size(); p++) {
      const size_t c = static_cast<size_t>(out.classes[b][p]);
      count_page(image, stream.fills, stream.blocks[b].pages[p], out.counts[c]);
      out.reason_counts[c][static_cast<size_t>(out.reasons[b][p])]++;
    }
}

/// In words: what is critical although a reader might expect it to be expendable.
void note_doubts(Inspection& out) {
  const auto& segments = out.reason_counts[static_cast<size_t>(PageClass::kernel)];
  if (const uint64_t pages = segments[static_cast<size_t>(Reason::segment_unproven)])
    out.notes.push_back({"kernel: the segment's place in guest memory is not proven (R6)", pages});
  const auto& cache = out.reason_counts[static_cast<size_t>(PageClass::other_cache)];
  for (size_t i = 0; i < kReasons; i++) {
    if (cache[i] == 0) continue;
    const ReasonFacts& why = facts_of(static_cast<Reason>(i));
    std::string text = std::string("other-cache: ") + why.text;
    if (static_cast<Reason>(i) == Reason::layout_unknown) text += ": " + out.cache_problem;
    if (static_cast<Reason>(i) == Reason::unknown_member) text += ": " + out.unknown_member;
    if (*why.rule) text += std::string(" (") + why.rule + ")";
    out.notes.push_back({text, cache[i]});
  }
}

/// Fills in everything but the counts; `reason` stays empty only when a reading was believed.
void look_inside(Bytes image, const DomainXml& domain, const MigrationStream& stream, uint64_t head_end,
                 const InspectOptions& options, Inspection& out) {
  const auto layout = lay_out_ram(domain, stream);
  assume_critical(stream, layout ? *layout : std::vector<Segment>(), out);
  if (!layout) {
    out.reason = layout.why();
    return;
  }
  const GuestRam ram(image, stream, *layout);
  auto vcpus = options.vcpus ? Result<std::vector<Vcpu>>(*options.vcpus) : read_vcpus(image, stream);
  if (!vcpus) {
    out.reason = "the vCPUs' registers cannot be read: " + vcpus.error().what;
    return;
  }
  const auto live = prove_live_kernel(ram, *vcpus);
  const auto reading = live ? read_kernel(ram, *live, vcpus->size(), head_end, options.observer)
                            : Believed<Reading>(Disbelief{live.why()});
  if (!reading) {
    out.reason = reading.why();
    return;
  }
  out.introspected = true;
  out.kernel_release = reading->release;
  classes_from_reading(ram, *reading, out);
  out.cache_problem = reading->cache_problem;
  out.unknown_member = reading->unknown_member;
  out.recovery = std::move(reading->classified.recovery);
}

}  // namespace

Inspection inspect(Bytes image, const DomainXml& domain, const MigrationStream& stream, uint64_t head_end,
                   const InspectOptions& options) {
  Inspection out;
  look_inside(image, domain, stream, head_end, options, out);
  count_classes(image, stream, out);
  note_doubts(out);
  return out;
}

}  // namespace pars
