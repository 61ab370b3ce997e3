// pars-reader MODE: looks into the image on descriptor 3 from inside a jail and answers on descriptor 4. docs/format.md.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "core/inspection.hh"
#include "core/save_image.hh"
#include "reader/channel.hh"
#include "reader/facts.hh"
#include "reader/head.hh"
#include "reader/jail.hh"
#include "reader/packing.hh"

namespace pars::reader {

namespace {

using nlohmann::json;

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
  if (header->format == SaveFormat::raw) opened.head_end = find_head_end(image, header->stream_offset);
  return opened;
}

void send_image(Bytes image, const Opened& opened) {
  const uint64_t start = opened.header.stream_offset;
  const std::string record = stub_record_hex(image, opened.head_end);
  json facts = {{"bytes", image.size()},
                {"format", save_format_name(static_cast<uint32_t>(opened.header.format))},
                {"wasRunning", opened.header.was_running != 0},
                {"streamOffset", start},
                {"domain", domain_facts(opened.domain)},
                {"headEnd", opened.head_end},
                {"headDigest", opened.head_end ? json(sha256_hex(image.subspan(start, opened.head_end - start))) : json(nullptr)},
                {"stubRecord", record.empty() ? json(nullptr) : json(record)}};
  send(Message::image, facts);
}

PackRequest request_from(const json& request) {
  PackRequest out;
  const json stored = request.value("stored", json::array());
  for (size_t c = 0; c < kPageClasses; c++)
    for (const json& name : stored) out.stored[c] = out.stored[c] || name == kPageClassNames[c];
  const json level = request.value("level", json(kMinLevel));
  if (level.is_number_integer() && level >= kMinLevel && level <= kMaxLevel) out.level = level.get<int>();
  return out;
}

int fail(const Error& error) {
  send_error(error);
  return 1;
}

int pack(Bytes image, const MigrationStream* stream, const Inspection* inspection, uint64_t head_end) {
  auto request = receive_pack();
  if (!request || !request->is_object()) return 2;
  if (Status sent = send_stripes(image, stream, inspection, head_end, request_from(*request)); !sent) return fail(sent.error());
  send(Message::end, json::object());
  return 0;
}

/// The image as it is, with no look inside: also for images that do not parse.
int whole(Bytes image) {
  if (auto opened = open_image(image)) send_image(image, *opened);
  return pack(image, nullptr, nullptr, 0);
}

int look(Bytes image, bool then_pack) {
  auto opened = open_image(image);
  if (!opened) return fail(opened.error());
  send_image(image, *opened);
  if (opened->header.format != SaveFormat::raw) {
    const std::string name = save_format_name(static_cast<uint32_t>(opened->header.format));
    return fail({ErrorCode::unsupported_format, 24, "the image is saved as " + name + "; only raw images are looked into"});
  }
  auto stream = parse_migration_stream(image, opened->header.stream_offset, {kImageFd});
  if (!stream) return fail(stream.error());
  const uint64_t head_end = stream->stripes.empty() ? 0 : stream->stripes.front().image_offset;
  const Inspection inspection = inspect(image, opened->domain, *stream, head_end ? head_end : image.size());
  send(Message::inspection, inspection_facts(image, *stream, inspection, !then_pack));
  if (then_pack) return pack(image, &*stream, &inspection, head_end);
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

int run(const std::string& mode, Bytes image) {
  if (mode == "probe") return probe(image);
  if (mode == "report") return look(image, false);
  if (mode == "pack") return look(image, true);
  if (mode == "whole") return whole(image);
  return 2;
}

int start(const char* mode) {
  struct stat st{};
  if (fstat(kImageFd, &st) != 0) return 2;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGBUS, on_bus_error);
  if (const std::string problem = enter_jail(st.st_size); !problem.empty()) {
    std::fprintf(stderr, "pars-reader: %s\n", problem.c_str());
    return 4;
  }
  if (st.st_size == 0) return fail({ErrorCode::truncated, 0, "the file is empty"});
  void* map = mmap(nullptr, st.st_size, PROT_READ, MAP_SHARED, kImageFd, 0);
  if (map == MAP_FAILED) return fail({ErrorCode::io, 0, "the image cannot be mapped"});
  return run(mode, {static_cast<const uint8_t*>(map), static_cast<size_t>(st.st_size)});
}

}  // namespace

}  // namespace pars::reader

int main(int argc, char** argv) {
  if (argc == 2) return pars::reader::start(argv[1]);
  std::fprintf(stderr, "usage: pars-reader probe|report|pack|whole, with the image as descriptor 3\n");
  return 2;
}
