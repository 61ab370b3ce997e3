// SPDX-License-Identifier: Apache-2.0
#include "core/image/device_description.hh"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace pars {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxSectionBytes = 1ull << 32;

/// What an object or array of the text stands for. `other` and all inside it is passed over: a field's own
/// "size" already tells how many bytes its struct takes.
enum class Level { other, root, devices, device, fields, field, subsections, subsection };

Level array_level(Level parent, std::string_view key) {
  if (parent == Level::root && key == "devices") return Level::devices;
  const bool described = parent == Level::device || parent == Level::subsection;
  if (described && key == "fields") return Level::fields;
  if (described && key == "subsections") return Level::subsections;
  return Level::other;
}

Level object_level(Level parent, bool outermost) {
  if (outermost) return Level::root;
  if (parent == Level::devices) return Level::device;
  if (parent == Level::fields) return Level::field;
  if (parent == Level::subsections) return Level::subsection;
  return Level::other;
}

struct Field {
  std::string name;
  uint64_t size = 0;
  uint64_t count = 1;
};

/// Adds up the devices' sizes while the events pass. Every handler answers false to stop the parser.
class Summer : public nlohmann::json_sax<json> {
 public:
  std::vector<DeviceDescription> devices;
  Error failure{ErrorCode::bad_text, 0, "the description of the devices is not JSON"};

  bool start_object(size_t) override { return open(object_level(level(), levels_.empty())); }
  bool start_array(size_t) override { return open(array_level(level(), key_)); }
  bool end_array() override { return close(); }
  bool end_object() override { return close(); }
  bool key(string_t& name) override {
    key_.swap(name);
    return true;
  }
  bool string(string_t& value) override { return named(value); }
  bool number_unsigned(number_unsigned_t value) override { return counted(value); }
  bool number_integer(number_integer_t) override { return refuse_number(); }
  bool number_float(number_float_t, const string_t&) override { return refuse_number(); }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool binary(binary_t&) override { return false; }
  bool parse_error(size_t at, const std::string&, const nlohmann::detail::exception&) override {
    failure.offset = at;
    return false;
  }

 private:
  Level level() const { return levels_.empty() ? Level::other : levels_.back(); }
  bool fail(ErrorCode code, std::string what) {
    failure = {code, 0, std::move(what)};
    return false;
  }

  bool open(Level opened) {
    if (levels_.size() == kMaxDescriptionDepth)
      return fail(ErrorCode::limit, "a description nested too deeply");
    levels_.push_back(opened);
    if (opened == Level::field) field_ = {};
    if (opened == Level::device) {
      if (devices.size() == kMaxDevices) return fail(ErrorCode::limit, "a description of too many devices");
      devices.emplace_back();
    }
    // Its type (0x05), the length of its name and its version; the name's own bytes are added when it is met.
    return opened != Level::subsection || add(6);
  }

  bool close() {
    const Level closed = level();
    levels_.pop_back();
    return closed != Level::field || add_field();
  }

  bool named(const std::string& value) {
    if (level() == Level::field && key_ == "name") field_.name = value;
    if (level() == Level::device && key_ == "name") devices.back().name = value;
    if (level() == Level::subsection && key_ == "vmsd_name") return add(value.size());
    return true;
  }

  bool counted(uint64_t value) {
    if (level() == Level::field && key_ == "size") field_.size = value;
    if (level() == Level::field && key_ == "array_len") field_.count = value;
    if (level() == Level::device && key_ == "instance_id") devices.back().instance = uint32_t(value);
    return true;
  }

  bool refuse_number() {
    const bool matters = key_ == "size" || key_ == "array_len" || key_ == "instance_id";
    return !matters || level() == Level::other || fail(ErrorCode::bad_length, "an invalid size or number");
  }

  bool add(uint64_t bytes) {
    uint64_t& sum = devices.back().bytes;
    if (bytes > kMaxSectionBytes - sum)
      return fail(ErrorCode::bad_length, "a device section larger than 4 GiB");
    sum += bytes;
    return true;
  }

  // An array of equal elements is one field with the size of one element and "array_len".
  bool add_field() {
    if (levels_.size() == kDeviceFieldDepth) note_register();
    if (field_.size && field_.count > kMaxSectionBytes / field_.size)
      return fail(ErrorCode::bad_length, "a field larger than 4 GiB");
    return add(field_.size * field_.count);
  }

  void note_register() {
    DeviceDescription& device = devices.back();
    const auto* found = std::ranges::find(kRegisterFields, std::string_view(field_.name));
    if (device.name != "cpu" || found == kRegisterFields.end() || field_.size != 8 || field_.count != 1)
      return;
    device.registers[size_t(found - kRegisterFields.begin())] = device.bytes;
  }

  // root, devices, device, fields: a closed field's place when it is the device's own, not a subsection's.
  static constexpr size_t kDeviceFieldDepth = 4;

  std::vector<Level> levels_;
  std::string key_;
  Field field_;
};

}  // namespace

Result<std::vector<DeviceDescription>> parse_device_description(std::string_view text, uint64_t offset) {
  if (text.size() > kMaxDescriptionBytes)
    return Error{ErrorCode::limit, offset, "a description of the devices longer than 32 MiB"};
  Summer summer;
  if (json::sax_parse(text.begin(), text.end(), &summer)) return std::move(summer.devices);
  summer.failure.offset =
      offset + std::min<uint64_t>(summer.failure.offset, text.size());  // JSON cut short fails one byte later
  return summer.failure;
}

}  // namespace pars
