// SPDX-License-Identifier: Apache-2.0
#include "reader/channel.hh"

#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "reader/jail.hh"

namespace pars::reader {

namespace {

constexpr uint32_t kMaxRequest = 8 << 20;   // a running domain's XML is at most 4 MiB long
constexpr uint32_t kMaxDiskMap = 32 << 20;  // a disk in more pieces is not looked for
constexpr int kParentGone = 3;

void write_all(const void* data, size_t bytes) {
  auto* from = static_cast<const uint8_t*>(data);
  while (bytes > 0) {
    const ssize_t n = write(kAnswerFd, from, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(kParentGone);
    from += n, bytes -= n;
  }
}

bool read_all(void* data, size_t bytes) {
  auto* to = static_cast<uint8_t*>(data);
  while (bytes > 0) {
    const ssize_t n = read(kRequestFd, to, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n, bytes -= n;
  }
  return true;
}

}  // namespace

void send(Message type, std::initializer_list<Bytes> parts) {
  uint32_t bytes = 0;
  for (Bytes part : parts) bytes += part.size();
  const uint32_t header[2] = {static_cast<uint32_t>(type), bytes};
  write_all(header, sizeof header);
  for (Bytes part : parts) write_all(part.data(), part.size());
}

void send(Message type, const nlohmann::json& payload) {
  // Names from the image may hold bytes that are not UTF-8: they are replaced, never an exception.
  const std::string text = payload.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  send(type, {Bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size())});
}

void send_error(const Error& error) {
  send(Message::error,
       {{"code", error_code_name(error.code)}, {"offset", error.offset}, {"message", error.what}});
}

std::optional<std::vector<uint8_t>> receive_bytes(Message type) {
  uint32_t header[2];
  if (!read_all(header, sizeof header)) return std::nullopt;
  const uint32_t most = type == Message::disk_map ? kMaxDiskMap : kMaxRequest;
  if (header[0] != static_cast<uint32_t>(type) || header[1] > most) return std::nullopt;
  std::vector<uint8_t> bytes(header[1]);
  if (!read_all(bytes.data(), bytes.size())) return std::nullopt;
  return bytes;
}

std::optional<nlohmann::json> receive(Message type) {
  const auto text = receive_bytes(type);
  if (!text) return std::nullopt;
  auto request = nlohmann::json::parse(text->begin(), text->end(), nullptr, false);
  if (request.is_discarded() || !request.is_object()) return std::nullopt;
  return request;
}

}  // namespace pars::reader
