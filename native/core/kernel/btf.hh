// SPDX-License-Identifier: Apache-2.0
// BTF: the kernel's own description of its types, or a module's, which continues it. Only what is asked for
// by name is kept. Source: Linux Documentation/bpf/btf.rst, include/uapi/linux/btf.h.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/bytes.hh"
#include "core/result.hh"

namespace pars {

/// A member found by name, at its byte offset within the outermost struct.
struct BtfMember {
  uint32_t offset = 0;
  uint32_t bytes = 0;     ///< size of its type; 0 for a flexible array
  uint32_t type = 0;      ///< type id, with typedefs and qualifiers resolved
  uint32_t elements = 1;  ///< for an array
};

class Btf {
 public:
  Btf(const Btf&) = delete;  // what it looks names up by points into its own blob
  Btf& operator=(const Btf&) = delete;
  Btf(Btf&&) = default;
  Btf& operator=(Btf&&) = default;

  /// Length of the blob whose header stands at `header` (24 bytes at least), or 0 when it is no BTF header of
  /// a kernel.
  static uint64_t blob_bytes(Bytes header);
  /// Takes the blob over; a module's numbers its types and names on from those of `base`. Errors carry
  /// offsets into the blob.
  static Result<Btf> parse(std::vector<uint8_t> blob, std::shared_ptr<const Btf> base = nullptr);

  /// How many type ids there are, the base's and 0 (void) among them, and how many bytes of names.
  uint32_t type_count() const { return first_type_ + type_at_.size(); }
  uint32_t name_bytes() const { return first_name_ + names_end_ - names_at_; }

  /// Size of `struct name`; nullopt when it is missing, or defined twice in different ways.
  std::optional<uint32_t> struct_size(std::string_view name) const;
  /// `path` like "lru.next": anonymous structs and unions are searched through.
  std::optional<BtfMember> member(std::string_view struct_name, std::string_view path) const;
  /// The value of an enumerator of `enum enum_name`.
  std::optional<int64_t> enumerator(std::string_view enum_name, std::string_view name) const;
  bool has_enum(std::string_view enum_name) const;

 private:
  Btf() = default;
  struct Type {
    uint32_t name, info, size;
    const uint8_t* tail;  // what follows the 12 bytes
    uint32_t kind() const { return info >> 24 & 0x1f; }
    uint32_t count() const { return info & 0xffff; }
    bool bitfields() const { return info >> 31; }
  };

  std::string_view name(uint32_t offset) const;
  std::optional<Type> type(uint32_t id) const;
  std::optional<uint32_t> resolve(uint32_t id) const;
  uint32_t type_bytes(uint32_t id, int depth) const;
  std::optional<BtfMember> find(uint32_t struct_id, std::string_view name, int depth, uint64_t& budget) const;
  std::optional<BtfMember> describe(uint32_t type_id, uint32_t offset) const;
  std::optional<uint32_t> unique_struct(std::string_view name) const;

  std::shared_ptr<const Btf> base_;
  uint32_t first_type_ = 0, first_name_ = 0;  // of this blob's own
  std::vector<uint8_t> blob_;
  uint32_t types_at_ = 0, types_end_ = 0, names_at_ = 0, names_end_ = 0;
  std::vector<uint32_t> type_at_;  // from first_type_ on; id 0 is void
  std::unordered_map<std::string_view, std::vector<uint32_t>> structs_, enums_;
};

}  // namespace pars
