// SPDX-License-Identifier: Apache-2.0
// pars-reader MODE: looks into the image on descriptor 3 from inside a jail and answers on descriptor 4.
// docs/format.md.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "core/image/mapped_ram.hh"
#include "core/image/save_image.hh"
#include "core/pages/inspection.hh"
#include "reader/channel.hh"
#include "reader/disks.hh"
#include "reader/estimate.hh"
#include "reader/facts.hh"
#include "reader/head.hh"
#include "reader/jail.hh"
#include "reader/live_ram.hh"
#include "reader/packing.hh"
#include "reader/page_map.hh"

namespace pars::reader {

namespace {

using nlohmann::json;

constexpr size_t kLargestFiles = 32;
constexpr uint64_t kMaxExplained = 1024;

/// Somebody cut the image short while it was mapped.
void on_bus_error(int) {
  static const char text[] = "pars-reader: the image was truncated while it was read\n";
  if (write(2, text, sizeof text - 1) < 0) _exit(6);
  _exit(5);
}

struct Opened {
  SaveImage header;
  DomainXml domain;
  uint64_t head_end = 0;
};

Result<Opened> open_image(Bytes image) {
  auto header = parse_save_image(image);
  if (!header) return header.error();
  auto domain = parse_domain_xml(header->xml);
  if (!domain) return domain.error();
  Opened opened{*header, *domain, 0};
  opened.head_end = find_head_end(image, header->stream_offset, header->format);
  return opened;
}

void send_image(Bytes image, const Opened& opened) {
  const uint64_t start = opened.header.stream_offset;
  const std::string record = stub_record_hex(image, opened.head_end);
  json facts = {
      {"bytes", image.size()},
      {"format", save_format_name(static_cast<uint32_t>(opened.header.format))},
      {"wasRunning", opened.header.was_running != 0},
      {"streamOffset", start},
      {"domain", domain_facts(opened.domain)},
      {"headEnd", opened.head_end},
      {"headDigest",
       opened.head_end ? json(sha256_hex(image.subspan(start, opened.head_end - start))) : json(nullptr)},
      {"stubRecord", record.empty() ? json(nullptr) : json(record)}};
  send(Message::image, facts);
}

int fail(const Error& error) {
  send_error(error);
  return 1;
}

int pack(Bytes image, const MigrationStream* stream, const Inspection* inspection, uint64_t head_end,
         std::vector<PageReference> references = {}) {
  if (!receive(Message::pack)) return 2;
  if (Status sent = send_stripes(image, stream, inspection, head_end, std::move(references)); !sent)
    return fail(sent.error());
  send(Message::end, json::object());
  return 0;
}

/// The image as it is, with no look inside: also for images that do not parse.
int whole(Bytes image) {
  if (auto opened = open_image(image)) send_image(image, *opened);
  return pack(image, nullptr, nullptr, 0);
}

Status must_be_plain(const Opened& opened) {
  if (opened.header.format == SaveFormat::raw || opened.header.format == SaveFormat::sparse) return Done{};
  const std::string name = save_format_name(static_cast<uint32_t>(opened.header.format));
  return Error{ErrorCode::unsupported_format, 24,
               "the image is saved as " + name + "; only raw and sparse images are analysed"};
}

Result<MigrationStream> parse_stream(Bytes image, const SaveImage& header) {
  if (header.format == SaveFormat::sparse) return parse_mapped_ram(image, header.stream_offset, {kImageFd});
  return parse_migration_stream(image, header.stream_offset, {kImageFd});
}

/// What is sent with the counts, or after them.
enum class Then { nothing, pack, map };

/// Keeps the largest files of the cache while the reading is at hand.
struct MapMaker {
  std::vector<FileShare> files;
  InspectOptions options() {
    return {[this](const ReadingView& view) { files = largest_files(view, kLargestFiles); }, {}};
  }
  void send_map(const DomainXml& domain, const MigrationStream& stream, const Inspection& inspection) const {
    send(Message::map, map_facts(draw_memory_map(domain, stream, inspection), files));
  }
};

/// Finds where the cache should lie on the disks while the reading is at hand, and compares afterwards.
class DiskSearch {
 public:
  explicit DiskSearch(std::vector<GivenDisk> disks) : disks_(std::move(disks)) {}
  bool wanted() const { return disks_.count() > 0; }
  void place(const ReadingView& view) { placed_ = place_pages(view, disks_.access()); }
  /// What it found goes to the parent.
  std::vector<PageReference> compare(Bytes image, uint64_t head_end, const Inspection& inspection) {
    if (!wanted()) return {};
    Comparison found;
    if (head_end) found = compare_with_disks(image, head_end, std::move(placed_), inspection, disks_);
    send(Message::references, reference_facts(found));
    return std::move(found.references);
  }

 private:
  Disks disks_;
  PlacedPages placed_;
};

/// Opens an image that can be looked into; what it is goes to the parent also when it cannot.
Result<Opened> open_plain(Bytes image) {
  auto opened = open_image(image);
  if (!opened) return opened;
  send_image(image, *opened);
  if (Status plain = must_be_plain(*opened); !plain) return plain.error();
  return opened;
}

/// Where the head ends and the stripes begin; 0 when all of the image is head.
uint64_t first_stripe(const MigrationStream& stream) {
  return stream.stripes.empty() ? 0 : stream.stripes.front().image_offset;
}

void send_inspection(Bytes image, const MigrationStream& stream, const Inspection& inspection,
                     uint64_t head_end, bool estimated) {
  std::optional<Estimate> found;
  if (estimated) found = estimate(image, stream, inspection, head_end);
  send(Message::inspection, inspection_facts(stream, inspection, found ? &*found : nullptr));
}

int look(Bytes image, Then then, DiskSearch disks) {
  auto opened = open_plain(image);
  if (!opened) return fail(opened.error());
  auto stream = parse_stream(image, opened->header);
  if (!stream) return fail(stream.error());
  const uint64_t head_end = first_stripe(*stream);
  MapMaker maker;
  InspectOptions options = then == Then::map ? maker.options() : InspectOptions{};
  if (disks.wanted())
    options.observer = [&disks, more = options.observer](const ReadingView& view) {
      disks.place(view);
      if (more) more(view);
    };
  const Inspection inspection =
      inspect(image, opened->domain, *stream, head_end ? head_end : image.size(), options);
  send_inspection(image, *stream, inspection, head_end, then != Then::pack);
  std::vector<PageReference> references = disks.compare(image, head_end, inspection);
  if (then == Then::pack) return pack(image, &*stream, &inspection, head_end, std::move(references));
  if (then == Then::map) maker.send_map(opened->domain, *stream, inspection);
  send(Message::end, json::object());
  return 0;
}

/// Pages of guest memory, each with its class and why: what the parent asks for in a query {first, pages}.
int explain(Bytes image) {
  auto opened = open_plain(image);
  if (!opened) return fail(opened.error());
  const auto query = receive(Message::query);
  const json first = query ? query->value("first", json()) : json(),
             pages = query ? query->value("pages", json()) : json();
  if (!first.is_number_unsigned() || !pages.is_number_unsigned() || pages.get<uint64_t>() > kMaxExplained ||
      first.get<uint64_t>() > kMaxRamBytes)
    return 2;
  auto stream = parse_stream(image, opened->header);
  if (!stream) return fail(stream.error());
  const uint64_t head_end = first_stripe(*stream);
  std::vector<PageExplanation> shown;
  const InspectOptions options{[&](const ReadingView& view) { shown = explain_pages(view, first, pages); },
                               {}};
  const Inspection inspection =
      inspect(image, opened->domain, *stream, head_end ? head_end : image.size(), options);
  send(Message::explanation, explanation_facts(opened->domain, *stream, inspection, shown, first, pages));
  send(Message::end, json::object());
  return 0;
}

/// A guest that runs: the descriptor is its /proc/PID/mem, and the query says where in it the RAM lies.
int live() {
  const auto query = receive(Message::query);
  if (!query) return 2;
  auto guest = open_live_guest(*query);
  if (!guest) return fail(guest.error());
  send(Message::image, {{"domain", domain_facts(guest->domain)}});
  MapMaker maker;
  InspectOptions options = maker.options();
  options.vcpus = guest->vcpus;
  const Inspection inspection = inspect(guest->memory, guest->domain, guest->stream, 0, options);
  send_inspection(guest->memory, guest->stream, inspection, 0, true);
  maker.send_map(guest->domain, guest->stream, inspection);
  send(Message::end, json::object());
  return 0;
}

int probe(Bytes image) {
  auto opened = open_image(image);
  if (!opened) return fail(opened.error());
  send_image(image, *opened);
  send(Message::end, json::object());
  return 0;
}

int run(const std::string& mode, Bytes image, std::vector<GivenDisk> disks) {
  if (mode == "probe") return probe(image);
  if (mode == "report") return look(image, Then::nothing, DiskSearch(std::move(disks)));
  if (mode == "pack") return look(image, Then::pack, DiskSearch(std::move(disks)));
  if (mode == "map") return look(image, Then::map, DiskSearch(std::move(disks)));
  if (mode == "explain") return explain(image);
  if (mode == "whole") return whole(image);
  return 2;
}

int start(const char* mode, std::vector<GivenDisk> disks) {
  struct stat st {};
  if (fstat(kImageFd, &st) != 0) return 2;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGBUS, on_bus_error);
  if (const std::string problem = enter_jail(st.st_size, files_of(disks), std::string(mode) == "live");
      !problem.empty()) {
    std::fprintf(stderr, "pars-reader: %s\n", problem.c_str());
    return 4;
  }
  if (std::string(mode) == "live") return live();
  if (!receive_tables(disks)) return 2;
  if (st.st_size == 0) return fail({ErrorCode::truncated, 0, "the file is empty"});
  void* map = mmap(nullptr, st.st_size, PROT_READ, MAP_SHARED, kImageFd, 0);
  if (map == MAP_FAILED) return fail({ErrorCode::io, 0, "the image cannot be mapped"});
  return run(mode, {static_cast<const uint8_t*>(map), static_cast<size_t>(st.st_size)}, std::move(disks));
}

}  // namespace

}  // namespace pars::reader

int main(int argc, char** argv) {
  if (argc >= 2)
    if (auto disks = pars::reader::given_disks({argv + 2, argv + argc}))
      return pars::reader::start(argv[1], std::move(*disks));
  std::fprintf(
      stderr,
      "usage: pars-reader probe|report|map|explain|pack|whole, with the image as descriptor 3, or "
      "live, with a QEMU's memory; after it the disks whose files are descriptors 5 and on: NUMBER, or "
      "NUMBER:FILES\n");
  return 2;
}
