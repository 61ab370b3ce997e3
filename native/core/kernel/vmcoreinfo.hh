// SPDX-License-Identifier: Apache-2.0
// VMCOREINFO: the text a Linux kernel keeps for its own crash dumps. Source: Linux
// Documentation/admin-guide/kdump/vmcoreinfo.rst.
#pragma once
#include <optional>
#include <string_view>
#include <unordered_map>

#include "core/bytes.hh"

namespace pars {

class Vmcoreinfo {
 public:
  /// Parses one page of `KEY=VALUE` lines. Nullopt when a line is not text or no OSRELEASE leads.
  static std::optional<Vmcoreinfo> parse(Bytes page);

  std::string_view release() const { return release_; }
  /// SYMBOL(name): a kernel virtual address.
  std::optional<uint64_t> symbol(std::string_view name) const { return value("SYMBOL", name, 16); }
  std::optional<uint64_t> offset(std::string_view name) const { return value("OFFSET", name, 10); }
  std::optional<uint64_t> size(std::string_view name) const { return value("SIZE", name, 10); }
  std::optional<uint64_t> length(std::string_view name) const { return value("LENGTH", name, 10); }
  /// NUMBER(name): signed decimal.
  std::optional<int64_t> number(std::string_view name) const;

 private:
  std::optional<uint64_t> value(const char* kind, std::string_view name, int base) const;
  std::string_view release_;
  std::unordered_map<std::string_view, std::string_view> values_;  // into the page
};

}  // namespace pars
