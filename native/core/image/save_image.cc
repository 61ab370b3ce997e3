// SPDX-License-Identifier: Apache-2.0
#include "core/image/save_image.hh"

#include <array>

namespace pars {
namespace {

constexpr uint64_t kHeaderBytes = 92;
constexpr uint32_t kNewestVersion = 2;
constexpr uint32_t kMaxDataBytes = 64u << 20;  // XML, cookie and padding; real ones are a few KiB
constexpr std::string_view kMagic = "LibvirtQemudSave";
constexpr std::string_view kPartialMagic = "LibvirtQemudPart";
constexpr std::array<const char*, 7> kFormatNames = {"raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse"};

struct Header {
  std::string_view magic;
  uint32_t version, data_bytes, was_running, format;
};

Header read_header(Cursor& cursor) {
  Header header{};
  header.magic = cursor.text(kMagic.size());
  header.version = cursor.le32();
  header.data_bytes = cursor.le32();
  header.was_running = cursor.le32();
  header.format = cursor.le32();
  cursor.skip(kHeaderBytes - cursor.position());  // the cookie's offset and what is reserved
  return header;
}

Status check_magic(const Header& header) {
  if (header.magic == kMagic) return Done{};
  if (header.magic == kPartialMagic)
    return Error{ErrorCode::partial_image, 0, "libvirt never finished writing this image"};
  return Error{ErrorCode::bad_magic, 0, "not a libvirt save image: expected LibvirtQemudSave"};
}

Status check_numbers(const Header& header) {
  if (header.version == 0 || header.version > kNewestVersion)
    return Error{ErrorCode::unsupported_version, 16,
                 "save image version " + std::to_string(header.version) + ", versions 1 and 2 are known"};
  if (header.data_bytes == 0 || header.data_bytes > kMaxDataBytes)
    return Error{ErrorCode::bad_length, 20, "domain data of " + std::to_string(header.data_bytes) + " bytes"};
  if (!save_format_name(header.format))
    return Error{ErrorCode::unsupported_format, 28, "save format number " + std::to_string(header.format)};
  return Done{};
}

}  // namespace

const char* save_format_name(uint32_t format) {
  return format < kFormatNames.size() ? kFormatNames[format] : nullptr;
}

Result<SaveImage> parse_save_image(Bytes image) {
  Cursor cursor(image);
  const Header header = read_header(cursor);
  if (image.size() >= kMagic.size())
    if (Status magic = check_magic(header); !magic) return magic.error();
  if (!cursor.ok())
    return Error{ErrorCode::truncated, image.size(), "shorter than a save image's header of 92 bytes"};
  if (Status numbers = check_numbers(header); !numbers) return numbers.error();
  const std::string_view data = cursor.text(header.data_bytes);
  if (!cursor.ok())
    return Error{ErrorCode::truncated, image.size(),
                 "ends inside the domain data of " + std::to_string(header.data_bytes) + " bytes"};
  const size_t xml_bytes = data.find('\0');
  if (xml_bytes == 0 || xml_bytes == data.npos)
    return Error{ErrorCode::bad_text, kHeaderBytes, "no domain XML that ends with a NUL"};
  return SaveImage{header.version, header.was_running, SaveFormat(header.format), data.substr(0, xml_bytes),
                   cursor.position()};
}

}  // namespace pars
