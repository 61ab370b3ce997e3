// SPDX-License-Identifier: Apache-2.0
// Types by name, with fields at places of their own: what the BTF of a kernel made up for a test says.
#pragma once
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace pars::test {

struct FieldType {
  uint32_t bytes = 8;  ///< of one element; ignored when `structure` names a struct
  std::string structure = {};
  uint32_t elements = 1;  ///< more than one: an array
};

struct Field {
  std::string name;
  uint32_t offset = 0;
  FieldType type = {};
};

struct Structure {
  uint32_t bytes = 0;
  std::vector<Field> fields;
};

class KernelTypes {
 public:
  std::map<std::string, Structure> structs;
  std::map<std::string, std::map<std::string, int32_t>> enums;
  /// Told of in BTF beside those, by names that are there already; the guest knows nothing of them.
  std::vector<std::pair<std::string, Structure>> copies;
  std::vector<std::pair<std::string, std::map<std::string, int32_t>>> enum_copies;

  const Field& field(const std::string& type, const std::string& name) const {
    for (const Field& f : structs.at(type).fields)
      if (f.name == name) return f;
    throw std::out_of_range(type + "." + name);
  }
  bool has(const std::string& type, const std::string& name) const {
    auto found = structs.find(type);
    if (found == structs.end()) return false;
    for (const Field& f : found->second.fields)
      if (f.name == name) return true;
    return false;
  }
  uint32_t offset(const std::string& type, const std::string& name) const { return field(type, name).offset; }
  uint32_t bytes(const std::string& type) const { return structs.at(type).bytes; }
  uint64_t bit(const std::string& type, const std::string& name) const {
    return 1ull << enums.at(type).at(name);
  }

  KernelTypes& drop(const std::string& type, const std::string& name) {
    std::erase_if(structs.at(type).fields, [&](const Field& f) { return f.name == name; });
    return *this;
  }
  KernelTypes& add(const std::string& type, Field field) {
    return structs.at(type).fields.push_back(std::move(field)), *this;
  }
  /// A second definition of a struct, as it stands now: alike, until the first one or this one is changed.
  KernelTypes& copy(const std::string& type) { return copies.push_back({type, structs.at(type)}), *this; }
  KernelTypes& drop_bit(const std::string& type, const std::string& name) {
    return enums.at(type).erase(name), *this;
  }
};

}  // namespace pars::test
