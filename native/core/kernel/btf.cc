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
constexpr uint64_t kMaxBlob = 16ull << 20;  // Debian's kernels have 2 to 7 MiB
constexpr size_t kMaxName = 512;            // KSYM_NAME_LEN
constexpr uint64_t kMaxMembers =
    1u << 17;  // looked at for one name: unions may nest, and a liar's in circles
constexpr int kMaxDepth = 24;
constexpr size_t kMaxCopies = 64;  // of one struct; Debian's btrfs.ko has had four

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
  if (!c.ok() || magic != kMagicVersionFlags || header_bytes != kBtfHeaderBytes) return 0;
  if (type_off != 0 || names_off != type_len || type_len % 4 != 0) return 0;
  const uint64_t total = kBtfHeaderBytes + names_off + names_len;
  return total <= kMaxBlob ? total : 0;
}

Result<Btf> Btf::parse(std::vector<uint8_t> blob, std::shared_ptr<const Btf> base) {
  if (blob_bytes(blob) != blob.size() || blob.empty())
    return Error{ErrorCode::bad_magic, 0, "not a BTF blob of a kernel"};
  Btf btf;
  if (base) btf.first_type_ = base->type_count(), btf.first_name_ = base->name_bytes();
  btf.steps_ = base ? base->steps_ : std::make_shared<uint64_t>(kBtfSteps);
  btf.base_ = std::move(base);
  btf.blob_ = std::move(blob);
  btf.types_at_ = kBtfHeaderBytes;
  btf.types_end_ = kBtfHeaderBytes + load_le<uint32_t>(&btf.blob_[12]);
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

/// False when there is none left.
bool Btf::take_step() const {
  if (*steps_ > 0) --*steps_;
  return *steps_ > 0;
}

/// Also of what one name may cost.
bool Btf::take_step(uint64_t& budget) const {
  if (budget == 0) return false;
  budget--;
  return take_step();
}

std::optional<uint32_t> Btf::resolve(uint32_t id) const {
  for (int i = 0; i < kMaxDepth && take_step(); i++) {
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

BtfAnswer<BtfMember> Btf::describe(uint32_t type_id, uint32_t offset) const {
  auto id = resolve(type_id);
  if (!id) return BtfAnswer<BtfMember>::ambiguous();
  BtfMember m{offset, type_bytes(*id, 0), *id, 1};
  const Type t = *type(*id);
  if (t.kind() == kArray) m.elements = load_le<uint32_t>(t.tail + 8);
  return spent() ? BtfAnswer<BtfMember>::ambiguous() : m;
}

Btf::Member Btf::member_at(const Type& structure, uint32_t number) const {
  const uint8_t* p = structure.tail + 12 * number;
  const uint32_t place = load_le<uint32_t>(p + 8);
  const bool sized = structure.bitfields() && place >> 24 != 0;
  return {name(load_le<uint32_t>(p)), load_le<uint32_t>(p + 4),
          structure.bitfields() ? place & 0xffffff : place, sized};
}

/// A bit field without a name is padding; a type that cannot be followed may be anything.
bool Btf::is_anonymous_struct(const Member& member, uint32_t& id) const {
  const auto resolved = resolve(member.type);
  id = resolved.value_or(0);
  if (!resolved) return true;
  const uint32_t kind = type(*resolved)->kind();
  return kind == kStruct || kind == kUnion;
}

BtfAnswer<BtfMember> Btf::find(uint32_t struct_id, std::string_view wanted, int depth,
                               uint64_t& budget) const {
  using Answer = BtfAnswer<BtfMember>;
  auto t = type(struct_id);
  if (!t || depth > kMaxDepth || t->kind() == kForward) return Answer::ambiguous();
  if (t->kind() != kStruct && t->kind() != kUnion) return Answer::absent();
  for (uint32_t i = 0; i < t->count(); i++) {
    if (!take_step(budget)) return Answer::ambiguous();
    const Member m = member_at(*t, i);
    if (!m.name.empty() && m.name != wanted) continue;
    if (!m.name.empty())
      return m.bit % 8 == 0 && !m.bit_field ? describe(m.type, m.bit / 8) : Answer::ambiguous();
    uint32_t anonymous = 0;
    if (!is_anonymous_struct(m, anonymous)) continue;
    Answer inner = find(anonymous, wanted, depth + 1, budget);
    if (inner.is_absent()) continue;
    if (inner) inner->offset += m.bit / 8;
    return inner;
  }
  return Answer::absent();
}

/// Of one copy. What a struct embeds is followed by its type, not by its name.
BtfAnswer<BtfMember> Btf::locate(uint32_t struct_id, std::string_view path) const {
  uint32_t id = struct_id, base = 0;
  for (;;) {
    const size_t dot = path.find('.');
    uint64_t budget = kMaxMembers;
    auto m = find(id, path.substr(0, dot), 0, budget);
    if (!m) return m;
    m->offset += base;
    if (dot == std::string_view::npos) return m;
    base = m->offset;
    id = m->type;
    path.remove_prefix(dot + 1);
  }
}

/// Of a module's types and of the kernel's: a type that was not merged into the kernel's is one of its own.
std::vector<uint32_t> Btf::copies(Copies Btf::*which, std::string_view wanted) const {
  std::vector<uint32_t> ids = base_ ? base_->copies(which, wanted) : std::vector<uint32_t>();
  const auto own = (this->*which).find(wanted);
  if (own != (this->*which).end()) ids.insert(ids.end(), own->second.begin(), own->second.end());
  return ids;
}

BtfAnswer<uint32_t> Btf::struct_size(std::string_view struct_name) const {
  using Answer = BtfAnswer<uint32_t>;
  std::optional<Answer> agreed;
  for (uint32_t id : copies(&Btf::structs_, struct_name)) {
    if (!take_step()) return Answer::ambiguous();
    const Answer answer = type(id)->size;
    if (agreed) agreed->agree_with(answer);
    else agreed = answer;
  }
  return agreed.value_or(Answer::absent());
}

BtfAnswer<BtfMember> Btf::member(std::string_view struct_name, std::string_view path) const {
  using Answer = BtfAnswer<BtfMember>;
  const auto ids = copies(&Btf::structs_, struct_name);
  if (ids.size() > kMaxCopies) return Answer::ambiguous();
  std::optional<Answer> agreed;
  for (uint32_t id : ids) {
    const Answer answer = locate(id, path);
    if (agreed) agreed->agree_with(answer);
    else agreed = answer;
  }
  return agreed.value_or(Answer::absent());
}

bool Btf::has_enum(std::string_view enum_name) const { return !copies(&Btf::enums_, enum_name).empty(); }

BtfAnswer<int64_t> Btf::value_in(uint32_t enum_id, std::string_view wanted) const {
  const Type t = *type(enum_id);
  const bool wide = t.kind() == kEnum64;
  for (uint32_t i = 0; i < t.count(); i++) {
    const uint8_t* p = t.tail + (wide ? 12 : 8) * i;
    if (!take_step()) return BtfAnswer<int64_t>::ambiguous();
    if (name(load_le<uint32_t>(p)) != wanted) continue;
    const int64_t low = load_le<int32_t>(p + 4);
    return wide ? int64_t{load_le<int32_t>(p + 8)} << 32 | (low & 0xffffffff) : low;
  }
  return BtfAnswer<int64_t>::absent();
}

/// Enums without a name are not copies of each other: those that lack the enumerator do not count.
BtfAnswer<int64_t> Btf::enumerator(std::string_view enum_name, std::string_view wanted) const {
  using Answer = BtfAnswer<int64_t>;
  std::optional<Answer> agreed;
  for (uint32_t id : copies(&Btf::enums_, enum_name)) {
    if (!take_step()) return Answer::ambiguous();
    const Answer answer = value_in(id, wanted);
    if (enum_name.empty() && answer.is_absent()) continue;
    if (agreed) agreed->agree_with(answer);
    else agreed = answer;
  }
  return agreed.value_or(Answer::absent());
}

bool Btf::list_members(uint32_t struct_id, uint32_t offset, int depth, uint64_t& budget,
                       std::vector<BtfName>& out) const {
  const auto t = type(struct_id);
  if (!t || depth > kMaxDepth || (t->kind() != kStruct && t->kind() != kUnion)) return false;
  for (uint32_t i = 0; i < t->count(); i++) {
    if (!take_step(budget)) return false;
    const Member m = member_at(*t, i);
    uint32_t anonymous = 0;
    if (!m.name.empty()) out.push_back({m.name, offset + m.bit / 8});
    else if (is_anonymous_struct(m, anonymous) &&
             !list_members(anonymous, offset + m.bit / 8, depth + 1, budget, out))
      return false;
  }
  return true;
}

std::optional<std::vector<BtfName>> Btf::members(std::string_view struct_name) const {
  std::vector<BtfName> out;
  uint64_t budget = kMaxMembers;
  for (uint32_t id : copies(&Btf::structs_, struct_name))
    if (!list_members(id, 0, 0, budget, out)) return std::nullopt;
  return out;
}

std::optional<std::vector<BtfName>> Btf::enumerators(std::string_view enum_name) const {
  std::vector<BtfName> out;
  for (uint32_t id : copies(&Btf::enums_, enum_name)) {
    const Type t = *type(id);
    const uint32_t step = t.kind() == kEnum64 ? 12 : 8;
    if (!take_step() || out.size() + t.count() > kMaxMembers) return std::nullopt;
    for (uint32_t i = 0; i < t.count(); i++) out.push_back({name(load_le<uint32_t>(t.tail + step * i)), 0});
  }
  return out;
}

}  // namespace pars
