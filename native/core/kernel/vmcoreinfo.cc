// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/vmcoreinfo.hh"

#include <charconv>
#include <string>

namespace pars {

namespace {

bool printable(std::string_view line) {
  for (unsigned char c : line)
    if (c < 0x20 || c > 0x7e) return false;
  return true;
}

template <class T>
std::optional<T> parse_number(std::string_view text, int base) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<Vmcoreinfo> Vmcoreinfo::parse(Bytes page) {
  std::string_view text(reinterpret_cast<const char*>(page.data()), page.size());
  text = text.substr(0, text.find('\0'));
  Vmcoreinfo info;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) break;  // the last line of a full page may be cut
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos || !printable(line)) return std::nullopt;
    info.values_.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  auto release = info.values_.find("OSRELEASE");
  if (release == info.values_.end()) return std::nullopt;
  info.release_ = release->second;
  return info;
}

std::optional<uint64_t> Vmcoreinfo::value(const char* kind, std::string_view name, int base) const {
  const std::string key = std::string(kind) + "(" + std::string(name) + ")";
  auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  return parse_number<uint64_t>(found->second, base);
}

std::optional<int64_t> Vmcoreinfo::number(std::string_view name) const {
  auto found = values_.find("NUMBER(" + std::string(name) + ")");
  if (found == values_.end()) return std::nullopt;
  return parse_number<int64_t>(found->second, 10);
}

}  // namespace pars
