// SPDX-License-Identifier: Apache-2.0
// Writes the BTF blob of a made-up kernel, of a module of its, or one with a piece wrong.
#pragma once
#include <algorithm>
#include <string_view>

#include "guest/kernel_types.hh"

namespace pars::test {

/// The core takes nothing smaller for a kernel's.
inline constexpr size_t kKernelBtfBytes = 260u << 10;

class BtfWriter {
 public:
  explicit BtfWriter(const KernelTypes& kernel) : kernel_(kernel) {
    names_.push_back(0);
    for (uint32_t bytes : {1, 2, 4, 8}) scalars_[bytes] = add_int(bytes);
    add_all();
  }

  /// A module's types, numbered on from the kernel's; they may be made of the kernel's structs.
  BtfWriter(const KernelTypes& module, const BtfWriter& kernel)
      : kernel_(module),
        last_id_(kernel.last_id_),
        first_name_(kernel.name_bytes()),
        scalars_(kernel.scalars_),
        structures_(kernel.structures_) {
    add_all();
  }

  uint32_t type_count() const { return last_id_ + 1; }
  /// Of a kernel's whole blob.
  uint32_t name_bytes() const {
    return std::max<size_t>(names_.size(), kKernelBtfBytes - 24 - types_.size());
  }

  /// Header, types, names; padded with a long last name until it is `least` bytes.
  std::vector<uint8_t> blob(size_t least = kKernelBtfBytes) const {
    std::vector<uint8_t> names = names_, out;
    const size_t bytes = 24 + types_.size() + names.size();
    if (bytes < least) names.resize(names.size() + least - bytes - 1, 'x'), names.push_back(0);
    for (uint32_t word :
         {0x0001eb9fu, 24u, 0u, uint32_t(types_.size()), uint32_t(types_.size()), uint32_t(names.size())})
      put32(out, word);
    out.insert(out.end(), types_.begin(), types_.end());
    out.insert(out.end(), names.begin(), names.end());
    return out;
  }

 private:
  void add_all() {
    for (const auto& [name, structure] : kernel_.structs) structure_id(name);
    for (const auto& [name, values] : kernel_.enums) add_enum(name, values);
    for (const auto& [name, copy] : kernel_.copies) add_structure(name, copy);
    for (const auto& [name, copy] : kernel_.enum_copies) add_enum(name, copy);
  }
  static void put32(std::vector<uint8_t>& to, uint32_t v) {
    for (int i = 0; i < 4; i++) to.push_back(uint8_t(v >> 8 * i));
  }
  uint32_t name(std::string_view text) {
    const uint32_t at = first_name_ + uint32_t(names_.size());
    names_.insert(names_.end(), text.begin(), text.end());
    names_.push_back(0);
    return at;
  }
  uint32_t begin(std::string_view text, uint32_t kind, uint32_t count, uint32_t size) {
    put32(types_, text.empty() ? 0 : name(text)), put32(types_, kind << 24 | count), put32(types_, size);
    return ++last_id_;
  }
  uint32_t add_int(uint32_t bytes) {
    const uint32_t id = begin("u" + std::to_string(8 * bytes), 1, 0, bytes);
    put32(types_, 8 * bytes);
    return id;
  }
  uint32_t add_array(uint32_t element, uint32_t count) {
    const uint32_t id = begin("", 3, 0, 0);
    put32(types_, element), put32(types_, scalars_.at(4)), put32(types_, count);
    return id;
  }
  uint32_t type_id(const FieldType& type) {
    const uint32_t element = type.structure.empty() ? scalars_.at(type.bytes) : structure_id(type.structure);
    return type.elements == 1 ? element : add_array(element, type.elements);
  }
  /// A page's fields stand in anonymous unions, as the kernel's do: the second half of every struct is one.
  uint32_t structure_id(const std::string& wanted) {
    if (auto known = structures_.find(wanted); known != structures_.end()) return known->second;
    return structures_[wanted] = add_structure(wanted, kernel_.structs.at(wanted));
  }
  uint32_t add_structure(const std::string& wanted, const Structure& s) {
    std::vector<uint32_t> ids;
    for (const Field& f : s.fields) ids.push_back(type_id(f.type));
    const size_t named = (s.fields.size() + 1) / 2;
    const uint32_t inner = begin("", 5, uint32_t(s.fields.size() - named), s.bytes);
    for (size_t i = named; i < s.fields.size(); i++) add_member(s.fields[i].name, ids[i], s.fields[i].offset);
    const uint32_t id = begin(wanted, 4, uint32_t(named) + 1, s.bytes);
    for (size_t i = 0; i < named; i++) add_member(s.fields[i].name, ids[i], s.fields[i].offset);
    add_member("", inner, 0);
    return id;
  }
  void add_member(std::string_view text, uint32_t type, uint32_t offset) {
    put32(types_, text.empty() ? 0 : name(text)), put32(types_, type), put32(types_, 8 * offset);
  }
  void add_enum(const std::string& text, const std::map<std::string, int32_t>& values) {
    begin(text, 6, uint32_t(values.size()), 4);
    for (const auto& [key, value] : values) put32(types_, name(key)), put32(types_, uint32_t(value));
  }

  const KernelTypes& kernel_;
  std::vector<uint8_t> types_, names_;
  uint32_t last_id_ = 0, first_name_ = 0;
  std::map<uint32_t, uint32_t> scalars_;
  std::map<std::string, uint32_t> structures_;
};

}  // namespace pars::test
