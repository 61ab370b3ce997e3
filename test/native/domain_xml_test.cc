// SPDX-License-Identifier: Apache-2.0
#include "core/image/domain_xml.hh"

#include <doctest/doctest.h>

#include "image_builder.hh"

using namespace pars;

namespace {

constexpr const char* kFull = R"(<domain type='kvm'>
  <name>-a b;$(x)'é</name>
  <uuid>0F0E0D0C-0B0A-0908-0706-050403020100</uuid>
  <metadata>
    <other:guest xmlns:other='urn:other' policy='theirs'/>
    <p:guest xmlns:p='https://pars.dev/xmlns/guest/1' policy='thrifty' offload='no'
      accept-changed-disks='yes' accept-uncompared-disks='yes'/>
  </metadata>
  <memory unit='GiB'>3</memory>
  <memoryBacking><hugepages/></memoryBacking>
  <os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>
  <cpu><numa><cell id='1' memory='1048576' unit='KiB'/><cell id='0' memory='2' unit='GiB'/></numa></cpu>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/a/b.qcow2'/>
      <target dev='vda'/></disk>
    <disk type='block'><source dev='/dev/sdb'/><target dev='vdb'/><readonly/></disk>
    <disk type='network'><driver type='raw'/>
      <source protocol='nbd' name='x' tls='yes'>
        <host name='h' port='1'/><host transport='unix' socket='/s'/>
        <auth username='u'><secret type='ceph' usage='z'/></auth><snapshot name='then'/><config file='/c'/>
      </source><target dev='vdc'/></disk>
    <disk type='file' device='cdrom'><source file='/c.iso'/><target dev='sda'/></disk>
    <disk type='volume'><source pool='p' volume='v'/><target dev='vdd'/></disk>
    <memory model='dimm'><target><size unit='MiB'>256</size><node>0</node></target>
      <address type='dimm' slot='3' base='0x140000000'/></memory>
    <memory model='virtio-mem'><target><size unit='GiB'>1</size><requested unit='MiB'>512</requested>
      <address base='0x180000000'/></target><address type='pci'/></memory>
    <memory model='virtio-mem'><target><size unit='GiB'>1</size></target><alias name='ua-mine'/></memory>
  </devices>
</domain>)";

std::string with(std::string_view inside) {
  return "<domain><name>n</name><uuid>" + std::string(test::kUuid) + "</uuid>" + std::string(inside) +
         "</domain>";
}

}  // namespace

TEST_CASE("domain XML: everything asked of it") {
  const auto parsed = parse_domain_xml(kFull);
  REQUIRE(parsed);
  CHECK(parsed->name == "-a b;$(x)'é");
  CHECK(parsed->uuid == test::kUuid);
  CHECK(parsed->architecture == "x86_64");
  CHECK(parsed->machine == "pc-q35-10.0");
  CHECK(parsed->memory_bytes == 3ull << 30);
  CHECK(parsed->memory_backed);
  REQUIRE(parsed->memory_devices.size() == 3);
  CHECK(parsed->memory_devices[0].block == "memdimm3");
  CHECK(parsed->memory_devices[0].bytes == 256ull << 20);
  CHECK(parsed->memory_devices[0].base == 0x140000000u);
  CHECK(parsed->memory_devices[1].block == "memvirtiomem0");
  CHECK(parsed->memory_devices[1].base == 0x180000000u);
  CHECK(parsed->memory_devices[2].block == "memua-mine");
  CHECK_FALSE(parsed->memory_devices[2].base.has_value());
  REQUIRE(parsed->numa_cells.size() == 2);
  CHECK(parsed->numa_cells[0].id == 0);
  CHECK(parsed->numa_cells[0].bytes == 2ull << 30);
  CHECK(parsed->numa_cells[1].bytes == 1ull << 30);
}

TEST_CASE("domain XML: disks") {
  const auto parsed = parse_domain_xml(kFull);
  REQUIRE(parsed);
  REQUIRE(parsed->disks.size() == 5);
  CHECK(parsed->disks[0].target == "vda");
  CHECK(parsed->disks[0].source == "/a/b.qcow2");
  CHECK(parsed->disks[0].format == "qcow2");
  CHECK(!parsed->disks[0].read_only);
  CHECK(parsed->disks[0].type == "file");
  CHECK(parsed->disks[0].device == "disk");
  CHECK(parsed->disks[1].type == "block");
  CHECK(parsed->disks[1].source == "/dev/sdb");
  CHECK(parsed->disks[1].read_only);
  CHECK(parsed->disks[2].source.empty());
  CHECK(parsed->disks[3].device == "cdrom");
  CHECK(!parsed->disks[3].read_only);
  CHECK(parsed->disks[4].source.empty());
  CHECK(parsed->disks[4].pool == "p");
  CHECK(parsed->disks[4].volume == "v");
}

TEST_CASE("domain XML: network disks") {
  const auto parsed = parse_domain_xml(kFull);
  REQUIRE(parsed);
  CHECK(!parsed->disks[1].network);
  REQUIRE(parsed->disks[2].network);
  const NetworkSource& network = *parsed->disks[2].network;
  CHECK(network.protocol == "nbd");
  CHECK(network.name == "x");
  CHECK(network.tls);
  CHECK(network.user == "u");
  CHECK(network.secret);
  CHECK(network.snapshot == "then");
  CHECK(network.config == "/c");
  REQUIRE(network.hosts.size() == 2);
  CHECK(network.hosts[0].transport == "tcp");
  CHECK(network.hosts[0].name == "h");
  CHECK(network.hosts[0].port == "1");
  CHECK(network.hosts[1].transport == "unix");
  CHECK(network.hosts[1].socket == "/s");
  std::string hosts;
  for (int i = 0; i < 100; ++i) hosts += "<host/>";
  const auto many =
      parse_domain_xml(with("<devices><disk type='network'><source>" + hosts + "</source></disk></devices>"));
  REQUIRE(many);
  CHECK(many->disks[0].network->hosts.size() == 64);
}

TEST_CASE("domain XML: metadata counts only in our namespace") {
  const auto parsed = parse_domain_xml(kFull);
  REQUIRE(parsed);
  CHECK(parsed->metadata_policy == "thrifty");
  CHECK(parsed->metadata_opt_out);
  CHECK(parsed->metadata_accept_changed_disks);
  CHECK(parsed->metadata_accept_uncompared_disks);
  CHECK(!parsed->metadata_no_disk_references);
  const auto inherited =
      parse_domain_xml(with("<metadata xmlns='https://pars.dev/xmlns/guest/1'><guest policy='a' "
                            "disk-references='off'/></metadata>"));
  REQUIRE(inherited);
  CHECK(inherited->metadata_no_disk_references);
  CHECK(inherited->metadata_policy == "a");
  const auto foreign = parse_domain_xml(with("<metadata><pars:guest policy='a'/></metadata>"));
  REQUIRE(foreign);
  CHECK(!foreign->metadata_policy);
}

TEST_CASE("domain XML: memory without a unit is KiB, and nonsense is none") {
  CHECK(parse_domain_xml(with("<memory>1024</memory>"))->memory_bytes == 1 << 20);
  CHECK(parse_domain_xml(with("<memory unit='b'>4096</memory>"))->memory_bytes == 4096);
  CHECK(parse_domain_xml(with("<memory unit='parsec'>1</memory>"))->memory_bytes == 0);
  CHECK(parse_domain_xml(with("<memory unit='TiB'>18446744073709551615</memory>"))->memory_bytes == 0);
}

TEST_CASE("domain XML: what is refused") {
  const auto code = [](const std::string& xml) { return parse_domain_xml(xml).error().code; };
  REQUIRE(!parse_domain_xml("<domain><name>n</name></domain>"));
  CHECK(code("<domain><name>n</name></domain>") == ErrorCode::bad_text);
  CHECK(code("<domain><name/><uuid>" + std::string(test::kUuid) + "</uuid></domain>") == ErrorCode::bad_text);
  CHECK(code("<domain><name>n</name><uuid>0f0e</uuid></domain>") == ErrorCode::bad_text);
  CHECK(code("<domain><name>n</name>") == ErrorCode::bad_text);
  CHECK(code("not XML") == ErrorCode::bad_text);
  CHECK(code(std::string(kMaxXmlBytes + 1, ' ')) == ErrorCode::limit);
  std::string disks;
  for (int i = 0; i <= 4096; ++i) disks += "<disk/>";
  CHECK(code(with("<devices>" + disks + "</devices>")) == ErrorCode::limit);
  CHECK(code(with("<os><type arch='\xff\xfe'/></os>")) == ErrorCode::bad_text);
  CHECK(code(with("<os><type arch='&#xd800;'/></os>")) == ErrorCode::bad_text);
}

TEST_CASE("domain XML: a disk that is handed to QEMU past libvirt is one of the disks (R26)") {
  const auto disks_of = [](std::string_view inside) {
    const auto parsed = parse_domain_xml(with(inside));
    REQUIRE(parsed);
    return parsed->disks;
  };
  for (const char* inside : {
           "<qemu:commandline><qemu:arg value='-drive'/><qemu:arg value='file=/a.raw,if=none,id=x'/>"
           "<qemu:arg value='-device'/><qemu:arg value='virtio-blk-pci,drive=x'/></qemu:commandline>",
           "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='--blockdev'/>"
           "<arg value='driver=file,filename=/a.raw,node-name=x'/></commandline>",
           "<q:commandline><q:env name='A' value='b'/><q:arg value='-hdb'/><q:arg "
           "value='/a.raw'/></q:commandline>",
           "<qemu:commandline><qemu:arg value='-device'/><qemu:arg value='vhost-user-blk-pci,chardev=x'/>"
           "</qemu:commandline>",
       }) {
    CAPTURE(inside);
    const auto disks = disks_of(inside);
    REQUIRE(disks.size() == 1);
    CHECK(disks[0].type == "commandline");
    CHECK(disks[0].device == "disk");
  }
  CHECK(disks_of("<qemu:commandline><qemu:arg value='-drive'/>"
                 "<qemu:arg value='file=/vars.fd,if=pflash,unit=1'/></qemu:commandline>")
            .empty());
  CHECK(disks_of("<qemu:commandline><qemu:arg value='-name'/><qemu:arg value='sd'/></qemu:commandline>")
            .empty());
  CHECK(disks_of("<qemu:commandline><qemu:arg value='-device'/><qemu:arg value='virtio-rng-pci'/>"
                 "</qemu:commandline>")
            .empty());
}
