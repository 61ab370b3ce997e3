// pars-reader MODE: the only program of Pars that reads guest bytes. Protocol: docs/format.md, "The reader's protocol".
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <string_view>

#include "reader/channel.hh"
#include "reader/image.hh"
#include "reader/jail.hh"
#include "reader/packer.hh"
#include "reader/report.hh"

namespace pars::reader {
namespace {

using nlohmann::json;

int fail(const Error& error) {
  send_error(error);
  return kExitError;
}

/// A stub's memory is elsewhere: to report on it or to store it would take the hole for memory.
int refuse_stub(const Image& image) {
  send_error("stub", image.head.end, image.head.stub ? "the image is a stub: its memory is in a store" : image.head.no_stub);
  return kExitError;
}

Result<PackRequest> read_request(const json& request) {
  PackRequest pack;
  pack.stored = FrameKinds().set(kFillFrame).set(kSkeletonFrame).set(kRecoveryFrame);
  auto stored = request.find("stored"), level = request.find("level");
  if (stored == request.end() || !stored->is_array() || level == request.end() || !level->is_number_integer())
    return Error{ErrorCode::bad_text, 0, "a request without a list of classes and a level"};
  for (const json& name : *stored) {
    auto known = std::find_if(kPageClassNames.begin(), kPageClassNames.end(), [&](const char* c) { return name == c; });
    if (known == kPageClassNames.end()) return Error{ErrorCode::bad_text, 0, "a request for an unknown class"};
    pack.stored.set(static_cast<size_t>(known - kPageClassNames.begin()));
  }
  pack.level = level->get<int>();
  if (pack.level < kMinLevel || pack.level > kMaxLevel) return Error{ErrorCode::bad_length, 0, "a level out of range"};
  return pack;
}

int pack_on_request(Bytes bytes, const PackPlan& plan, const Recovery& recovery) {
  auto message = receive_request();
  if (!message) return fail(message.error());
  if (!*message) return 0;
  auto request = read_request(**message);
  if (!request) return fail(request.error());
  auto totals = Packer(bytes, plan, recovery, *request).run();
  if (!totals) return fail(totals.error());
  send_json(Message::end, {{"stripes", totals->stripes}, {"frames", totals->frames}, {"imageBytes", totals->image_bytes},
                           {"rawBytes", totals->raw_bytes}, {"packedBytes", totals->packed_bytes}});
  return 0;
}

int report(const Image& image) {
  if (image.head.stub_magic) return refuse_stub(image);
  send_json(Message::progress, {{"phase", "inspect"}, {"done", 0}, {"total", image.bytes.size()}});
  Inside inside = look_inside(image);
  send_json(Message::inspection, describe_inside(image, inside, estimate_compression(image, inside)));
  send_json(Message::end, json::object());
  return 0;
}

int pack(const Image& image) {
  if (image.head.stub_magic) return refuse_stub(image);
  send_json(Message::progress, {{"phase", "inspect"}, {"done", 0}, {"total", image.bytes.size()}});
  Inside inside = look_inside(image);
  send_json(Message::inspection, describe_inside(image, inside, nullptr));
  PackPlan plan = inside.stream ? PackPlan::by_class(image.bytes, inside) : PackPlan::blind(image.bytes, image.head.end);
  return pack_on_request(image.bytes, plan, inside.inspection.recovery);
}

/// Stores any file, whatever it is; one whose header parses keeps its head.
int whole(Bytes bytes) {
  auto image = open_image(bytes);
  if (image) {
    send_json(Message::image, describe_image(*image));
    if (image->head.stub_magic) return refuse_stub(*image);
  }
  return pack_on_request(bytes, PackPlan::blind(bytes, image ? image->head.end : 0), Recovery());
}

int look(Bytes bytes, std::string_view mode) {
  auto image = open_image(bytes);
  if (!image) return fail(image.error());
  send_json(Message::image, describe_image(*image));
  return mode == "report" ? report(*image) : mode == "pack" ? pack(*image) : 0;
}

int run(std::string_view mode) {
  if (auto status = enter_jail(); !status) return fail(status.error());
  answer_faults();
  try {
    auto bytes = map_image();
    if (!bytes) return fail(bytes.error());
    return mode == "whole" ? whole(*bytes) : look(*bytes, mode);
  } catch (const std::exception& error) {
    send_error("limit", 0, std::string("the image asks for more than the reader may use: ") + error.what());
    return kExitError;
  }
}

bool known(std::string_view mode) { return mode == "probe" || mode == "report" || mode == "pack" || mode == "whole"; }

}  // namespace
}  // namespace pars::reader

int main(int count, char** arguments) {
  if (count != 2 || !pars::reader::known(arguments[1])) {
    constexpr std::string_view usage = "usage: pars-reader probe|report|pack|whole (image on descriptor 3, answers on 4; run by pars)\n";
    return write(2, usage.data(), usage.size()) < 0 ? 2 : 2;
  }
  int code = pars::reader::run(arguments[1]);
  // Not exit(): there is nothing to flush, and freeing gigabytes of page index takes time.
  _exit(code);
}
