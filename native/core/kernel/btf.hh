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

inline constexpr uint32_t kBtfHeaderBytes = 24;

/// A member found by name, at its byte offset within the outermost struct.
struct BtfMember {
  uint32_t offset = 0;
  uint32_t bytes = 0;     ///< size of its type; 0 for a flexible array
  uint32_t type = 0;      ///< type id, with typedefs and qualifiers resolved
  uint32_t elements = 1;  ///< for an array
  /// The same place and shape; type ids of equal copies differ.
  bool operator==(const BtfMember& o) const {
    return offset == o.offset && bytes == o.bytes && elements == o.elements;
  }
};

/// What BTF says of a name. A struct or enum can be there several times, when translation units were not
/// merged or mean different things by one name. Copies that agree on what was asked for count as one.
template <class T>
class BtfAnswer {
 public:
  BtfAnswer(T value) : value_(std::move(value)) {}
  static BtfAnswer absent() { return BtfAnswer(false); }
  static BtfAnswer ambiguous() { return BtfAnswer(true); }

  bool has_value() const { return value_.has_value(); }
  explicit operator bool() const { return has_value(); }
  const T& operator*() const { return *value_; }
  const T* operator->() const { return &*value_; }
  T* operator->() { return &*value_; }
  bool operator==(const T& other) const { return value_ == other; }
  /// Every copy lacks it. Only this may be taken for good news: `!has_value()` is also true of what is
  /// ambiguous.
  bool is_absent() const { return !value_ && !ambiguous_; }
  /// Copies differ, or what is there has no whole bytes of its own (a bit field), or could not be followed.
  bool is_ambiguous() const { return ambiguous_; }
  /// Takes what another copy says into account.
  void agree_with(const BtfAnswer& other) {
    if (value_ != other.value_ || other.ambiguous_) value_.reset(), ambiguous_ = true;
  }

 private:
  explicit BtfAnswer(bool ambiguous) : ambiguous_(ambiguous) {}
  std::optional<T> value_;
  bool ambiguous_ = false;
};

/// A name that a struct or an enum has.
struct BtfName {
  std::string_view name;
  uint32_t offset = 0;  ///< of a member, from the struct's first byte; 0 for an enumerator
};

/// A guest's kernel can have types in which each name takes long to find. So the searches through one
/// kernel's types, its modules' among them, may take kBtfSteps steps together, of some nanoseconds each;
/// after that every name is ambiguous. All that is asked of a kernel of Debian takes less than a hundredth of
/// it.
inline constexpr uint64_t kBtfSteps = 1u << 24;

class Btf {
 public:
  Btf(const Btf&) = delete;  // what it looks names up by points into its own blob
  Btf& operator=(const Btf&) = delete;
  Btf(Btf&&) = default;
  Btf& operator=(Btf&&) = default;

  /// Length of the blob whose header stands at `header` (24 bytes at least), or 0 when it is not a BTF header
  /// of a kernel.
  static uint64_t blob_bytes(Bytes header);
  /// Takes the blob over; a module's numbers its types and names on from those of `base`. Errors carry
  /// offsets into the blob.
  static Result<Btf> parse(std::vector<uint8_t> blob, std::shared_ptr<const Btf> base = nullptr);

  /// How many type ids there are, the base's and 0 (void) among them, and how many bytes of names.
  uint32_t type_count() const { return first_type_ + type_at_.size(); }
  uint32_t name_bytes() const { return first_name_ + names_end_ - names_at_; }
  /// How many steps of kBtfSteps are left.
  uint64_t steps_left() const { return *steps_; }

  /// Size of `struct name`.
  BtfAnswer<uint32_t> struct_size(std::string_view name) const;
  /// `path` like "lru.next": anonymous structs and unions are searched through.
  BtfAnswer<BtfMember> member(std::string_view struct_name, std::string_view path) const;
  /// The value of an enumerator of `enum enum_name`, or, when that is empty, of any enum without a name.
  BtfAnswer<int64_t> enumerator(std::string_view enum_name, std::string_view name) const;
  bool has_enum(std::string_view enum_name) const;

  /// All members of `struct name`, in any copy of it, with those of its anonymous structs and unions; nullopt
  /// when they cannot be told.
  std::optional<std::vector<BtfName>> members(std::string_view struct_name) const;
  /// All enumerators of `enum name`, likewise.
  std::optional<std::vector<BtfName>> enumerators(std::string_view enum_name) const;

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
  struct Member {
    std::string_view name;
    uint32_t type, bit;
    bool bit_field;
  };
  using Copies = std::unordered_map<std::string_view, std::vector<uint32_t>>;

  Member member_at(const Type& structure, uint32_t number) const;
  bool is_anonymous_struct(const Member& member, uint32_t& id) const;
  BtfAnswer<BtfMember> find(uint32_t struct_id, std::string_view name, int depth, uint64_t& budget) const;
  BtfAnswer<BtfMember> describe(uint32_t type_id, uint32_t offset) const;
  BtfAnswer<BtfMember> locate(uint32_t struct_id, std::string_view path) const;
  BtfAnswer<int64_t> value_in(uint32_t enum_id, std::string_view name) const;
  bool list_members(uint32_t struct_id, uint32_t offset, int depth, uint64_t& budget,
                    std::vector<BtfName>& out) const;
  std::vector<uint32_t> copies(Copies Btf::*which, std::string_view name) const;

  bool spent() const { return *steps_ == 0; }
  bool take_step() const;
  bool take_step(uint64_t& budget) const;

  std::shared_ptr<uint64_t> steps_;  // the base's, when there is one
  std::shared_ptr<const Btf> base_;
  uint32_t first_type_ = 0, first_name_ = 0;  // of this blob's own
  std::vector<uint8_t> blob_;
  uint32_t types_at_ = 0, types_end_ = 0, names_at_ = 0, names_end_ = 0;
  std::vector<uint32_t> type_at_;  // from first_type_ on; id 0 is void
  Copies structs_, enums_;
};

}  // namespace pars
