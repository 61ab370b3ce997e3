// SPDX-License-Identifier: Apache-2.0
// What Pars needs of the domain XML inside an image: who the guest is, how its memory is laid out, what disks
// it writes, and what its owner asked of us in <metadata>.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hh"

namespace pars {

struct NumaCell {
  uint32_t id = 0;
  uint64_t bytes = 0;
};

/// One server of a network disk.
struct NetworkHost {
  std::string transport;  ///< tcp, unix, rdma
  std::string name;
  std::string port;
  std::string socket;  ///< path of a UNIX socket
};

/// Where a network disk is. No secret is among it: the XML names those only.
struct NetworkSource {
  std::string protocol;  ///< nbd, rbd, iscsi, ...
  std::string name;
  std::vector<NetworkHost> hosts;
  bool tls = false;
  std::string user;
  bool secret = false;  ///< libvirt hands QEMU a password
  std::string config;   ///< a file of the protocol's library
  std::string snapshot;
  std::string query;
};

/// Memory beside what the machine has from the start.
struct MemoryDevice {
  std::string model;             ///< dimm, virtio-mem, nvdimm, ...
  std::string block;             ///< the RAM block's name, as libvirt names backends: "memdimm0"
  uint64_t bytes = 0;            ///< the region it takes, of which virtio-mem may use a part
  std::optional<uint64_t> base;  ///< guest-physical address; none when the XML does not say
};

/// What the XML itself puts below a disk, in place of what its image names.
struct BackingStore {
  std::string source;  ///< file or device path; empty for what is neither
  std::string format;  ///< raw, qcow2, ...
};

struct Disk {
  std::string target;  ///< vda
  std::string type;    ///< file, block, volume, network, dir, nvme, vhostuser, ...; commandline: one or more
                       ///< that the XML hands to QEMU past libvirt, of which nothing else is known
  std::string device;  ///< disk, cdrom, floppy, lun
  std::string source;  ///< file or device path; empty for the other types and for a drive without a medium
  std::string format;  ///< raw, qcow2, ...; as the driver is told
  std::string pool;    ///< of a volume
  std::string volume;  ///< of a volume
  bool read_only = false;  ///< <readonly/>, which libvirt also gives every CD-ROM
  std::optional<NetworkSource> network;
  std::vector<BackingStore> backing;  ///< of <backingStore>, nearest first
};

struct DomainXml {
  std::string name;
  std::string uuid;          ///< lower case, with dashes
  std::string architecture;  ///< x86_64
  std::string machine;       ///< pc-i440fx-7.2, pc-q35-10.0, ...
  uint64_t memory_bytes = 0;
  std::vector<NumaCell> numa_cells;  ///< in order of their ids
  std::vector<MemoryDevice> memory_devices;
  bool memory_backed = false;  ///< has <memoryBacking> that makes QEMU name RAM blocks after backends
  std::vector<Disk> disks;
  std::optional<std::string>
      metadata_policy;            ///< <pars:guest policy="...">, namespace https://pars.dev/xmlns/guest/1
  bool metadata_opt_out = false;  ///< <pars:guest offload="no">
  bool metadata_accept_changed_disks = false;     ///< <pars:guest accept-changed-disks="yes">
  bool metadata_accept_uncompared_disks = false;  ///< <pars:guest accept-uncompared-disks="yes">
  bool metadata_no_disk_references = false;       ///< <pars:guest disk-references="off">
};

/// No libvirt client can send a longer one (REMOTE_STRING_MAX).
inline constexpr size_t kMaxXmlBytes = 4u << 20;

/// A domain without a UUID or name is bad_text; so is text that is not UTF-8. A longer one than kMaxXmlBytes
/// is limit.
Result<DomainXml> parse_domain_xml(std::string_view xml);

}  // namespace pars
