// SPDX-License-Identifier: Apache-2.0
// Messages between the reader and its parent: u32 type, u32 length, payload. docs/format.md, "The reader's
// protocol".
#pragma once
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "core/bytes.hh"
#include "core/result.hh"

namespace pars::reader {

enum class Message : uint32_t {
  image = 1,
  inspection = 3,
  error = 4,
  pack = 5,
  stripe = 6,
  table = 7,
  end = 8,
  map = 9,
  query = 10,
  explanation = 11,
  references = 12,
  disk_map = 13
};

/// Writes one message to the parent; a parent that is gone ends the process.
void send(Message type, std::initializer_list<Bytes> parts);
void send(Message type, const nlohmann::json& payload);
void send_error(const Error& error);
/// Waits for a request of that type, an object; nullopt when the parent closed its end or sent something
/// else.
std::optional<nlohmann::json> receive(Message type);
/// The same for one that is bytes, not an object.
std::optional<std::vector<uint8_t>> receive_bytes(Message type);

}  // namespace pars::reader
