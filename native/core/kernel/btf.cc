// SPDX-License-Identifier: Apache-2.0
#include "core/kernel/btf.hh"

#include <algorithm>
#include <cstring>

namespace pars {

namespace {

enum Kind : uint32_t {
  kInt = 1,
  kPointer,
  kArray,
  kStruct,
  kUnion,
  kEnum,
  kForward,
  kTypedef,
  kVolatile,
  kConst,
  kRestrict,
  kFunction,
  kPrototype,
  kVariable,
  kDataSection,
  kFloat,
  kDeclTag,
  kTypeTag,
  kEnum64
};
constexpr uint32_t kMagicVersionFlags = 0x0001eb9f;
constexpr uint32_t kHeaderBytes = 24;
constexpr uint64_t kMaxBlob = 16ull << 20;  // Debian's kernels have 2 to 7 MiB
constexpr size_t kMaxName = 512;            // KSYM_NAME_LEN
constexpr uint64_t kMaxMembers =
    1u << 17;  // looked at for one name: unions may nest, and a liar's in circles
constexpr int kMaxDepth = 24;

/// Bytes that follow the 12 of a type, or nullopt for a kind we do not know the length of.
std::optional<uint64_t> tail_bytes(uint32_t kind, uint32_t count) {
  switch (kind) {
    case kInt:
    case kVariable:
    case kDeclTag: return 4;
    case kArray: return 12;
    case kStruct:
    case kUnion:
    case kEnum64:
    case kDataSection: return 12ull * count;
    case kEnum:
    case kPrototype: return 8ull * count;
    case kPointer:
    case kForward:
    case kTypedef:
    case kVolatile:
    case kConst:
    case kRestrict:
    case kFunction:
    case kFloat:
    case kTypeTag: return 0;
  }
  return std::nullopt;
}

bool is_modifier(uint32_t kind) {
  return kind == kTypedef || kind == kVolatile || kind == kConst || kind == kRestrict || kind == kTypeTag;
}

}  // namespace

uint64_t Btf::blob_bytes(Bytes header) {
  Cursor c(header);
  const uint32_t magic = c.le32(), header_bytes = c.le32();
  const uint64_t type_off = c.le32(), type_len = c.le32(), names_off = c.le32(), names_len = c.le32();
  if (!c.ok() || magic != kMagicVersionFlags || header_bytes != kHeaderBytes) return 0;
  if (type_off != 0 || names_off != type_len || type_len % 4 != 0) return 0;
  const uint64_t total = kHeaderBytes + names_off + names_len;
  return total <= kMaxBlob ? total : 0;
}

Result<Btf> Btf::parse(std::vector<uint8_t> blob, std::shared_ptr<const Btf> base) {
  if (blob_bytes(blob) != blob.size() || blob.empty())
    return Error{ErrorCode::bad_magic, 0, "not a BTF blob of a kernel"};
  Btf btf;
  if (base) btf.first_type_ = base->type_count(), btf.first_name_ = base->name_bytes();
  btf.base_ = std::move(base);
  btf.blob_ = std::move(blob);
  btf.types_at_ = kHeaderBytes;
  btf.types_end_ = kHeaderBytes + load_le<uint32_t>(&btf.blob_[12]);
  btf.names_at_ = btf.types_end_;
  btf.names_end_ = btf.blob_.size();
  if (btf.names_at_ == btf.names_end_ || btf.blob_.back() != 0)
    return Error{ErrorCode::bad_text, btf.names_at_, "the string table of the BTF has no end"};
  if (!btf.base_) btf.type_at_.push_back(0);
  for (uint32_t at = btf.types_at_; at < btf.types_end_;) {
    if (btf.types_end_ - at < 12) return Error{ErrorCode::truncated, at, "a BTF type is cut off"};
    const uint32_t id = btf.type_count();
    btf.type_at_.push_back(at);
    const Type t = *btf.type(id);
    auto tail = tail_bytes(t.kind(), t.count());
    if (!tail || *tail > btf.types_end_ - at - 12)
      return Error{
          ErrorCode::bad_length, at,
          "BTF type " + std::to_string(id) + " of kind " + std::to_string(t.kind()) + " does not fit"};
    if (t.kind() == kStruct) btf.structs_[btf.name(t.name)].push_back(id);
    if (t.kind() == kEnum || t.kind() == kEnum64) btf.enums_[btf.name(t.name)].push_back(id);
    at += 12 + *tail;
  }
  return btf;
}

std::string_view Btf::name(uint32_t offset) const {
  if (offset < first_name_) return base_->name(offset);
  offset -= first_name_;
  if (offset >= names_end_ - names_at_) return {};
  const auto* text = reinterpret_cast<const char*>(&blob_[names_at_ + offset]);  // the table ends with NUL
  const size_t length = strnlen(text, std::min<size_t>(kMaxName, names_end_ - names_at_ - offset));
  return length < kMaxName ? std::string_view(text, length) : std::string_view{};
}

std::optional<Btf::Type> Btf::type(uint32_t id) const {
  if (base_ && id < first_type_) return base_->type(id);
  if (id == 0 || id >= type_count()) return std::nullopt;
  const uint8_t* p = &blob_[type_at_[id - first_type_]];
  return Type{load_le<uint32_t>(p), load_le<uint32_t>(p + 4), load_le<uint32_t>(p + 8), p + 12};
}

std::optional<uint32_t> Btf::resolve(uint32_t id) const {
  for (int i = 0; i < kMaxDepth; i++) {
    auto t = type(id);
    if (!t) return std::nullopt;
    if (!is_modifier(t->kind())) return id;
    id = t->size;
  }
  return std::nullopt;
}

uint32_t Btf::type_bytes(uint32_t id, int depth) const {
  auto resolved = resolve(id);
  if (!resolved || depth > kMaxDepth) return 0;
  const Type t = *type(*resolved);
  if (t.kind() == kPointer) return 8;
  if (t.kind() != kArray) return t.size;
  const uint64_t total =
      uint64_t{type_bytes(load_le<uint32_t>(t.tail), depth + 1)} * load_le<uint32_t>(t.tail + 8);
  return total <= UINT32_MAX ? total : 0;
}

std::optional<BtfMember> Btf::describe(uint32_t type_id, uint32_t offset) const {
  auto id = resolve(type_id);
  if (!id) return std::nullopt;
  BtfMember m{offset, type_bytes(*id, 0), *id, 1};
  const Type t = *type(*id);
  if (t.kind() == kArray) m.elements = load_le<uint32_t>(t.tail + 8);
  return m;
}

std::optional<BtfMember> Btf::find(uint32_t struct_id, std::string_view wanted, int depth,
                                   uint64_t& budget) const {
  auto t = type(struct_id);
  if (!t || depth > kMaxDepth || (t->kind() != kStruct && t->kind() != kUnion)) return std::nullopt;
  for (uint32_t i = 0; i < t->count(); i++) {
    if (budget == 0) return std::nullopt;
    budget--;
    const uint8_t* p = t->tail + 12 * i;
    const std::string_view member_name = name(load_le<uint32_t>(p));
    const uint32_t bits = t->bitfields() ? load_le<uint32_t>(p + 8) & 0xffffff : load_le<uint32_t>(p + 8);
    if (!member_name.empty() && member_name != wanted) continue;
    if (!member_name.empty())
      return bits % 8 == 0 ? describe(load_le<uint32_t>(p + 4), bits / 8) : std::nullopt;
    auto anonymous = resolve(load_le<uint32_t>(p + 4));
    if (!anonymous) continue;
    if (auto inner = find(*anonymous, wanted, depth + 1, budget)) {
      inner->offset += bits / 8;
      return inner;
    }
  }
  return std::nullopt;
}

/// Two translation units may define different structs of one name; then the name proves nothing.
std::optional<uint32_t> Btf::unique_struct(std::string_view struct_name) const {
  auto found = structs_.find(struct_name);
  if (found == structs_.end()) return base_ ? base_->unique_struct(struct_name) : std::nullopt;
  if (found->second.size() != 1) return std::nullopt;
  return found->second.front();
}

std::optional<uint32_t> Btf::struct_size(std::string_view struct_name) const {
  auto id = unique_struct(struct_name);
  if (!id) return std::nullopt;
  return type(*id)->size;
}

std::optional<BtfMember> Btf::member(std::string_view struct_name, std::string_view path) const {
  auto id = unique_struct(struct_name);
  uint32_t base = 0;
  while (id) {
    const size_t dot = path.find('.');
    uint64_t budget = kMaxMembers;
    auto m = find(*id, path.substr(0, dot), 0, budget);
    if (!m) return std::nullopt;
    m->offset += base;
    if (dot == std::string_view::npos) return m;
    base = m->offset;
    id = m->type;
    path.remove_prefix(dot + 1);
  }
  return std::nullopt;
}

bool Btf::has_enum(std::string_view enum_name) const { return enums_.contains(enum_name); }

std::optional<int64_t> Btf::enumerator(std::string_view enum_name, std::string_view wanted) const {
  auto found = enums_.find(enum_name);
  if (found == enums_.end()) return std::nullopt;
  for (uint32_t id : found->second) {
    const Type t = *type(id);
    const uint32_t step = t.kind() == kEnum64 ? 12 : 8;
    for (uint32_t i = 0; i < t.count(); i++) {
      const uint8_t* p = t.tail + step * i;
      if (name(load_le<uint32_t>(p)) == wanted) return load_le<int32_t>(p + 4);
    }
  }
  return std::nullopt;
}

}  // namespace pars
