// SPDX-License-Identifier: Apache-2.0
#include "core/image/domain_xml.hh"

#include <algorithm>
#include <cstring>
#include <pugixml.hpp>

namespace pars {
namespace {

constexpr std::string_view kNamespace = "https://pars.dev/xmlns/guest/1";
constexpr size_t kMaxDisks = 4096;
constexpr size_t kMaxCells = 1024;
constexpr size_t kMaxHosts = 64;
constexpr size_t kMaxBacking = 64;
constexpr size_t kMaxMemoryDevices = 1024;

/// The length of the UTF-8 character at the front of `text`, or 0 if none is.
size_t utf8_character(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : 0u; };
  const auto trails = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const uint32_t first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return trails(1) ? 2 : 0;
  if (first >= 0xe0 && first < 0xf0) {
    const bool overlong = first == 0xe0 && second < 0xa0, surrogate = first == 0xed && second >= 0xa0;
    return trails(1) && trails(2) && !overlong && !surrogate ? 3 : 0;
  }
  const bool in_range =
      (first == 0xf0 && second >= 0x90) || (first > 0xf0 && first < 0xf4) || (first == 0xf4 && second < 0x90);
  return in_range && trails(1) && trails(2) && trails(3) ? 4 : 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t bytes = utf8_character(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

struct Unit {
  const char* name;
  uint64_t bytes;
};
constexpr Unit kUnits[] = {{"", 1ull << 10},      {"b", 1},          {"bytes", 1},
                           {"KB", 1000},          {"k", 1ull << 10}, {"KiB", 1ull << 10},
                           {"MB", 1000000},       {"M", 1ull << 20}, {"MiB", 1ull << 20},
                           {"GB", 1000000000},    {"G", 1ull << 30}, {"GiB", 1ull << 30},
                           {"TB", 1000000000000}, {"T", 1ull << 40}, {"TiB", 1ull << 40}};

/// An amount of memory as libvirt writes it; 0 when it is none or too large to be one.
uint64_t amount(uint64_t number, const char* unit) {
  for (const Unit& known : kUnits)
    if (std::strcmp(known.name, unit) == 0)
      return number <= UINT64_MAX / known.bytes ? number * known.bytes : 0;
  return 0;
}

/// 32 hexadecimal digits, in lower case and with dashes; empty if that is not what `text` holds.
std::string canonical_uuid(std::string_view text) {
  std::string uuid;
  for (const char c : text) {
    if (c == '-' || c == ' ' || c == '\n') continue;
    const char lower = c >= 'A' && c <= 'F' ? char(c - 'A' + 'a') : c;
    if (!((lower >= '0' && lower <= '9') || (lower >= 'a' && lower <= 'f')) || uuid.size() == 36) return {};
    if (uuid.size() == 8 || uuid.size() == 13 || uuid.size() == 18 || uuid.size() == 23) uuid += '-';
    uuid += lower;
  }
  return uuid.size() == 36 ? uuid : std::string();
}

/// The namespace a prefix stands for at a node: the nearest xmlns declaration, outwards.
std::string_view namespace_of(pugi::xml_node node) {
  const std::string_view name = node.name();
  const size_t colon = name.find(':');
  const std::string declaration =
      colon == name.npos ? "xmlns" : "xmlns:" + std::string(name.substr(0, colon));
  for (int depth = 0; node && depth < 8; node = node.parent(), ++depth)
    if (const pugi::xml_attribute found = node.attribute(declaration.c_str())) return found.value();
  return {};
}

std::string_view local_name(pugi::xml_node node) {
  const std::string_view name = node.name();
  const size_t colon = name.find(':');
  return colon == name.npos ? name : name.substr(colon + 1);
}

void read_numa(pugi::xml_node domain, DomainXml& out) {
  for (pugi::xml_node cell : domain.child("cpu").child("numa").children("cell")) {
    const uint32_t id = cell.attribute("id").as_uint(uint32_t(out.numa_cells.size()));
    out.numa_cells.push_back(
        {id, amount(cell.attribute("memory").as_ullong(), cell.attribute("unit").value())});
  }
  std::ranges::stable_sort(out.numa_cells, {}, &NumaCell::id);
}

/// libvirt calls backends after the device's alias, which an image's XML may lack: "dimm" and the slot,
/// "virtiomem" and its number. A wrong name is found out, for a block proves its place by what is in it.
std::string backend_name(pugi::xml_node device, const MemoryDevice& memory, size_t of_model) {
  if (const pugi::xml_attribute alias = device.child("alias").attribute("name"))
    return std::string("mem") + alias.value();
  if (memory.model == "virtio-mem") return "memvirtiomem" + std::to_string(of_model);
  return "mem" + memory.model + device.child("address").attribute("slot").as_string("0");
}

/// A DIMM's place is its address, virtio-mem's is told with its size.
std::optional<uint64_t> base_address(pugi::xml_node device) {
  for (pugi::xml_node node : {device.child("target").child("address"), device.child("address")})
    if (const pugi::xml_attribute base = node.attribute("base")) return base.as_ullong();
  return std::nullopt;
}

void read_memory_devices(pugi::xml_node domain, DomainXml& out) {
  for (pugi::xml_node device : domain.child("devices").children("memory")) {
    MemoryDevice memory;
    memory.model = device.attribute("model").value();
    const pugi::xml_node size = device.child("target").child("size");
    memory.bytes = amount(size.text().as_ullong(), size.attribute("unit").value());
    const auto same = [&](const MemoryDevice& other) { return other.model == memory.model; };
    memory.block = backend_name(device, memory, size_t(std::ranges::count_if(out.memory_devices, same)));
    memory.base = base_address(device);
    out.memory_devices.push_back(std::move(memory));
  }
}

void read_memory(pugi::xml_node domain, DomainXml& out) {
  const pugi::xml_node memory = domain.child("memory");
  out.memory_bytes = amount(memory.text().as_ullong(), memory.attribute("unit").value());
  read_memory_devices(domain, out);
  const pugi::xml_node backing = domain.child("memoryBacking");
  for (const char* named : {"hugepages", "source", "access", "allocation"})
    out.memory_backed |= bool(backing.child(named));
  read_numa(domain, out);
}

std::string attribute_of(pugi::xml_node node, const char* name) { return node.attribute(name).value(); }

NetworkSource read_network(pugi::xml_node disk, pugi::xml_node source) {
  NetworkSource network;
  network.protocol = attribute_of(source, "protocol");
  network.name = attribute_of(source, "name");
  network.query = attribute_of(source, "query");
  network.tls = std::strcmp(source.attribute("tls").value(), "yes") == 0;
  network.config = attribute_of(source.child("config"), "file");
  network.snapshot = attribute_of(source.child("snapshot"), "name");
  const pugi::xml_node auth = source.child("auth") ? source.child("auth") : disk.child("auth");
  network.user = attribute_of(auth, "username");
  network.secret = bool(auth.child("secret"));
  for (pugi::xml_node host : source.children("host")) {
    if (network.hosts.size() == kMaxHosts) break;
    const char* transport = host.attribute("transport").as_string("tcp");
    network.hosts.push_back(
        {transport, attribute_of(host, "name"), attribute_of(host, "port"), attribute_of(host, "socket")});
  }
  return network;
}

/// Of a file or a block device; else empty.
std::string local_source(pugi::xml_node of, const char* type) {
  const pugi::xml_node source = of.child("source");
  if (std::strcmp(type, "file") == 0) return attribute_of(source, "file");
  return std::strcmp(type, "block") == 0 ? attribute_of(source, "dev") : std::string();
}

/// One without a source ends the chain. What is beyond the limit counts as one that is no file.
std::vector<BackingStore> read_backing(pugi::xml_node disk) {
  std::vector<BackingStore> found;
  for (pugi::xml_node at = disk.child("backingStore"); at.child("source"); at = at.child("backingStore")) {
    if (found.size() == kMaxBacking) return found.push_back({}), found;
    found.push_back(
        {local_source(at, at.attribute("type").value()), attribute_of(at.child("format"), "type")});
  }
  return found;
}

Disk read_disk(pugi::xml_node node) {
  Disk disk;
  const pugi::xml_node source = node.child("source");
  disk.type = node.attribute("type").as_string("file");
  disk.device = node.attribute("device").as_string("disk");
  disk.target = attribute_of(node.child("target"), "dev");
  disk.format = attribute_of(node.child("driver"), "type");
  disk.read_only = bool(node.child("readonly"));
  disk.source = local_source(node, disk.type.c_str());
  if (disk.type == "volume")
    disk.pool = attribute_of(source, "pool"), disk.volume = attribute_of(source, "volume");
  if (disk.type == "network") disk.network = read_network(node, source);
  disk.backing = read_backing(node);
  return disk;
}

void read_metadata(pugi::xml_node domain, DomainXml& out) {
  for (pugi::xml_node node : domain.child("metadata").children()) {
    if (local_name(node) != "guest" || namespace_of(node) != kNamespace) continue;
    if (const pugi::xml_attribute policy = node.attribute("policy")) out.metadata_policy = policy.value();
    out.metadata_opt_out = std::strcmp(node.attribute("offload").value(), "no") == 0;
    out.metadata_no_disk_references = std::strcmp(node.attribute("disk-references").value(), "off") == 0;
    out.metadata_accept_changed_disks =
        std::strcmp(node.attribute("accept-changed-disks").value(), "yes") == 0;
    out.metadata_accept_uncompared_disks =
        std::strcmp(node.attribute("accept-uncompared-disks").value(), "yes") == 0;
    return;
  }
}

/// Entities such as &#xd800; can yield what was not in the text, so the values are checked, not the text.
bool all_utf8(const DomainXml& domain) {
  const auto good = [](std::initializer_list<std::string_view> texts) {
    return std::ranges::all_of(texts, is_utf8);
  };
  const auto host_good = [&](const NetworkHost& host) {
    return good({host.transport, host.name, host.port, host.socket});
  };
  const auto network_good = [&](const NetworkSource& n) {
    return good({n.protocol, n.name, n.user, n.config, n.snapshot, n.query}) &&
           std::ranges::all_of(n.hosts, host_good);
  };
  const auto disk_good = [&](const Disk& d) {
    return good({d.target, d.type, d.device, d.source, d.format, d.pool, d.volume}) &&
           (!d.network || network_good(*d.network)) &&
           std::ranges::all_of(d.backing, [&](const BackingStore& b) {
             return good({b.source, b.format});
           });
  };
  return is_utf8(domain.name) && is_utf8(domain.architecture) && is_utf8(domain.machine) &&
         is_utf8(domain.metadata_policy.value_or("")) && std::ranges::all_of(domain.disks, disk_good);
}

bool too_many(pugi::xml_node domain) {
  const auto count = [](auto nodes) { return size_t(std::distance(nodes.begin(), nodes.end())); };
  return count(domain.child("cpu").child("numa").children("cell")) > kMaxCells ||
         count(domain.child("devices").children("disk")) > kMaxDisks ||
         count(domain.child("devices").children("memory")) > kMaxMemoryDevices;
}

/// Options of QEMU's that give a guest a disk. A flash memory of the firmware is none.
bool names_a_drive(std::string_view option, std::string_view value) {
  if (!option.starts_with('-')) return false;
  option.remove_prefix(option.starts_with("--") ? 2 : 1);
  if (option == "device") return value.starts_with("vhost-user-blk") || value.starts_with("vhost-vdpa");
  if (option == "drive") return value.find("if=pflash") == std::string_view::npos;
  constexpr std::string_view kOptions[] = {"blockdev", "hda", "hdb",      "hdc",
                                           "hdd",      "sd",  "mtdblock", "readconfig"};
  return std::ranges::find(kOptions, option) != std::end(kOptions);
}

/// <qemu:commandline>, whatever its prefix is: what libvirt hands to QEMU as it stands, and knows nothing of.
bool has_drive_past_libvirt(pugi::xml_node domain) {
  for (pugi::xml_node line : domain.children()) {
    if (local_name(line) != "commandline") continue;
    for (pugi::xml_node arg : line.children())
      if (names_a_drive(arg.attribute("value").value(), arg.next_sibling().attribute("value").value()))
        return true;
  }
  return false;
}

Error bad_text(uint64_t offset, std::string what) { return {ErrorCode::bad_text, offset, std::move(what)}; }

}  // namespace

Result<DomainXml> parse_domain_xml(std::string_view xml) {
  if (xml.size() > kMaxXmlBytes)
    return Error{ErrorCode::limit, kMaxXmlBytes, "domain XML of " + std::to_string(xml.size()) + " bytes"};
  pugi::xml_document document;
  const auto parsed = document.load_buffer(xml.data(), xml.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!parsed)
    return bad_text(uint64_t(std::max<ptrdiff_t>(parsed.offset, 0)),
                    "domain XML: " + std::string(parsed.description()));
  const pugi::xml_node domain = document.child("domain");
  if (too_many(domain))
    return Error{ErrorCode::limit, 0, "more than 4096 disks, 1024 NUMA cells or 1024 memory devices"};
  DomainXml out;
  out.name = domain.child("name").text().get();
  out.uuid = canonical_uuid(domain.child("uuid").text().get());
  if (out.name.empty() || out.uuid.empty()) return bad_text(0, "domain XML without a name and a UUID");
  out.architecture = domain.child("os").child("type").attribute("arch").value();
  out.machine = domain.child("os").child("type").attribute("machine").value();
  read_memory(domain, out);
  for (pugi::xml_node disk : domain.child("devices").children("disk")) out.disks.push_back(read_disk(disk));
  if (has_drive_past_libvirt(domain)) {
    Disk disk;
    disk.target = disk.type = "commandline", disk.device = "disk";
    out.disks.push_back(std::move(disk));
  }
  read_metadata(domain, out);
  if (!all_utf8(out)) return bad_text(0, "domain XML with names that are not UTF-8");
  return out;
}

}  // namespace pars
