// SPDX-License-Identifier: Apache-2.0
#include "core/image/device_state.hh"

#include <algorithm>

#include "core/image/device_description.hh"
#include "core/image/stream_format.hh"

namespace pars {
namespace {

constexpr uint64_t kDescriptionHeader = 5;  // 0x06, u32 length
constexpr size_t kMaxVcpus = 4096;

struct Description {
  uint64_t header = 0;  // image offset of its 0x06
  std::string_view text;
};

/// libvirt's helper may pad an image with zeros. JSON ends with none.
uint64_t end_without_padding(Bytes image, uint64_t begin) {
  uint64_t end = image.size();
  while (end > begin && image[end - 1] == 0) --end;
  return end;
}

/// The description is the last thing in the stream, and its length leads exactly to the end. No character of
/// JSON is 0x06, so the last 0x06 is its mark or one of its length's four bytes.
Result<Description> find_description(Bytes image, uint64_t begin) {
  const uint64_t end = end_without_padding(image, begin);
  const uint64_t lowest =
      std::max(begin, end - std::min<uint64_t>(end, kMaxDescriptionBytes + kDescriptionHeader));
  uint64_t last = end;
  while (last > lowest && image[last - 1] != stream::kDescription) --last;
  for (uint64_t mark = last; mark-- > lowest && last - mark <= kDescriptionHeader;) {
    const uint64_t text = mark + kDescriptionHeader;
    if (image[mark] == stream::kDescription && text <= end && load_be32(&image[mark + 1]) == end - text)
      return Description{mark, {reinterpret_cast<const char*>(image.data()) + text, end - text}};
  }
  return Error{ErrorCode::truncated, end, "no description of the devices at the stream's end"};
}

Error misplaced(uint64_t at, const DeviceDescription& device, const char* what) {
  return {ErrorCode::bad_offset, at,
          std::string(what) + " of device section " + std::to_string(device.instance) +
              " is not where the description says"};
}

/// One section against its description; leaves the section's own bytes in `contents`.
Status walk_section(Cursor& cursor, const DeviceDescription& device, Bytes& contents) {
  const uint64_t at = cursor.position();
  const uint8_t type = cursor.u8();
  const uint32_t id = cursor.be32();
  const std::string_view name = cursor.text(cursor.u8());
  const uint32_t instance = cursor.be32();
  cursor.skip(4);  // version
  if (!cursor.ok() || type != stream::kSectionFull || name != device.name || instance != device.instance)
    return misplaced(at, device, "the header");
  contents = cursor.bytes(device.bytes);
  const uint64_t footer = cursor.position();
  if (cursor.u8() != stream::kFooter || cursor.be32() != id || !cursor.ok())
    return misplaced(footer, device, "the footer");
  return Done{};
}

Status add_vcpu(const DeviceDescription& device, Bytes contents, uint64_t at, std::vector<Vcpu>& vcpus) {
  if (vcpus.size() == kMaxVcpus) return Error{ErrorCode::limit, at, "more than 4096 vCPUs"};
  std::array<uint64_t, kRegisterFields.size()> values{};
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t offset = device.registers[i];
    if (offset > contents.size() || contents.size() - offset < 8)
      return Error{ErrorCode::bad_text, at, "a vCPU without the register " + std::string(kRegisterFields[i])};
    values[i] = load_be64(&contents[offset]);
  }
  vcpus.push_back({device.instance, values[0], values[1], values[2], values[3]});
  return Done{};
}

/// The description begins with the sections that stand before the pages, where they have been crossed.
Status check_early(const MigrationStream& stream, const std::vector<DeviceDescription>& devices) {
  for (size_t i = 0; i < stream.early.size(); ++i) {
    const EarlySection& early = stream.early[i];
    if (i == devices.size() || devices[i].name != early.name || devices[i].instance != early.instance ||
        devices[i].bytes != early.bytes)
      return Error{ErrorCode::bad_offset, stream.ram_end,
                   "the description does not begin with the section \"" + early.name + "\" before the pages"};
  }
  return Done{};
}

/// Commands may stand between device sections; they have no footer and no description.
void skip_commands(Cursor& cursor, Bytes image) {
  while (cursor.remaining() && image[cursor.position()] == stream::kCommand) {
    cursor.skip(3);
    cursor.skip(cursor.be16());
  }
}

}  // namespace

Result<std::vector<Vcpu>> read_vcpus(Bytes image, const MigrationStream& stream) {
  const Result<Description> description = find_description(image, stream.ram_end);
  if (!description) return description.error();
  const auto devices = parse_device_description(description->text, description->header + kDescriptionHeader);
  if (!devices) return devices.error();
  if (Status early = check_early(stream, *devices); !early) return early.error();
  std::vector<Vcpu> vcpus;
  Cursor cursor(image.first(description->header), stream.ram_end);
  for (const DeviceDescription& device : std::span(*devices).subspan(stream.early.size())) {
    skip_commands(cursor, image.first(description->header));
    const uint64_t at = cursor.position();
    Bytes contents;
    if (Status walked = walk_section(cursor, device, contents); !walked) return walked.error();
    if (device.name != "cpu") continue;
    if (Status added = add_vcpu(device, contents, at, vcpus); !added) return added.error();
  }
  if (cursor.remaining() != 1 || cursor.u8() != stream::kSectionEof)
    return Error{ErrorCode::bad_offset, cursor.position(),
                 "the described sections do not lead to the stream's end"};
  return vcpus;
}

}  // namespace pars
