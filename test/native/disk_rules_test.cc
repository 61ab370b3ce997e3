// SPDX-License-Identifier: Apache-2.0
// R13 on guests made by hand: a file's clean pages may go when each disk below it is the machine's own and
// answers.
#include <doctest/doctest.h>

#include <functional>

#include "guest/stacked.hh"

using namespace pars;
using namespace pars::test;

namespace {

using Change = std::function<void(StackedGuest&)>;

/// Every page of the file `ext4` has this reason after each of these changes; the file `xfs` stays clean.
void check(const std::map<std::string, Change>& changes, const std::map<std::string, KernelTypes>& kernels,
           Reason why) {
  for (const auto& [release, types] : kernels)
    for (const auto& [key, change] : changes) {
      const std::string &kernel = release,
                        &name = key;  // a lambda of clang 14 cannot take a structured binding
      CAPTURE(kernel);
      CAPTURE(name);
      StackedGuest g(types);
      const uint64_t other = g.add_folio(g.xfs, 2048);
      change(g);
      const Seen seen = g.look();
      CHECK(seen.reason == "");
      CHECK(seen.at(other) == PageClass::clean_cache);
      for (uint64_t pfn : g.small) CHECK(std::string(facts_of(seen.why(pfn)).name) == facts_of(why).name);
    }
}

Change below(const std::vector<std::string>& buses) {
  return [=](StackedGuest& g) { g.hang(g.ext4.block_device, buses); };
}
Change named(const std::string& name) {
  return [=](StackedGuest& g) { g.move_to(g.make_disk(name, 1)); };
}
Change part(uint64_t start, uint64_t sectors) {
  return [=](StackedGuest& g) {
    const uint64_t device = g.make_device(1);
    const uint64_t disk = g.get("block_device", g.ext4.block_device, "bd_disk");
    g.set("block_device", device, "bd_disk", disk);
    if (g.types.structs.contains("hd_struct")) g.set("block_device", device, "bd_part", g.make("hd_struct"));
    g.set_part(device, start, sectors);
    g.move_to(device);
  };
}
/// Something is wrong with what `build` makes.
template <class Build>
Change broken(Build build, Change wrong) {
  return [=](StackedGuest& g) {
    g.move_to(build(g));
    wrong(g);
  };
}

uint64_t volume(StackedGuest& g) {
  return g.add_dm({"linear", "linear"}, {g.make_disk("sda", 1), g.make_disk("sdb", 1)});
}
uint64_t mirror(StackedGuest& g) { return g.add_md("raid1", {g.make_disk("sda", 1), g.make_disk("sdb", 1)}); }
uint64_t image(StackedGuest& g) { return g.add_loop(g.make_file("xfs", "vdb")); }
Change set_md(const char* field, uint64_t value) {
  return broken(mirror, [=](StackedGuest& g) { g.set("mddev", g.driver_of(g.top), field, value); });
}
Change set_dm(const char* field, uint64_t value) {
  return broken(volume, [=](StackedGuest& g) { g.set("mapped_device", g.driver_of(g.top), field, value); });
}

}  // namespace

TEST_CASE("R13: a disk below a function on the machine's bus is proven, whatever adapter is between") {
  check({{"virtio-blk", below({"virtio", "pci"})},
         {"virtio-scsi", below({"scsi", "scsi", "scsi", "virtio", "pci"})},
         {"AHCI", below({"scsi", "scsi", "scsi", "", "pci"})},
         {"a SAS adapter", below({"scsi", "scsi", "=end_device-2:0", "=port-2:0", "scsi", "pci"})},
         {"behind bridges", below({"virtio", "pci", "pci", "pci", ""})},
         {"NVMe",
          [](StackedGuest& g) {
            named("nvme0n1")(g), g.hang(g.top, {"", "pci"});
          }},
         {"a card",
          [](StackedGuest& g) {
            named("mmcblk0")(g), g.hang(g.top, {"mmc", "", "pci"});
          }},
         {"its 27th disk", named("sdaa")},
         {"a partition", part(2048, StackedGuest::kDiskSectors - 2048)}},
        kKernels, Reason::plain);
}

TEST_CASE("R13: what bears a disk's name and is none of the machine's is critical") {
  std::map<std::string, Change> changes = {
      {"VDUSE", below({"virtio", "vdpa", ""})},
      {"vDPA of a network card", below({"virtio", "vdpa", "pci"})},
      {"iSCSI", below({"scsi", "scsi", "=session1", "scsi", "=platform"})},
      {"iSER over a network card", below({"scsi", "scsi", "=session1", "scsi", "virtio", "pci"})},
      {"FCoE", below({"scsi", "scsi", "=rport-3:0-1", "scsi", "", "virtio", "pci"})},
      {"tcm_loop", below({"scsi", "scsi", "scsi", "tcm_loop_bus", ""})},
      {"USB", below({"scsi", "scsi", "scsi", "usb", "usb", "usb", "pci"})},
      {"usbip", below({"scsi", "scsi", "scsi", "usb", "usb", "platform"})},
      {"virtio-mmio", below({"virtio", "platform"})},
      {"NVMe over fabrics",
       [](StackedGuest& g) {
         named("nvme0n1")(g), g.hang(g.top, {"=nvme0", "=ctl"});
       }},
      {"nothing", below({})},
      {"a bus of no name",
       [](StackedGuest& g) {
         g.hang(g.ext4.block_device, {"virtio", ""}), below({"", "x"})(g);
       }},
      {"too far from any bus", below(std::vector<std::string>(17, ""))},
  };
  for (const char* name :
       {"nbd0",  "rbd0",    "drbd1",     "ram0",   "zram0",        "pmem0",   "sr0", "fd0",
        "xvda",  "bcache0", "v",         "vd",     "vda1",         "vd0",     "sd",  "sda-",
        "nvme0", "nvme0n",  "nvme0c0n1", "mmcblk", "mmcblk0boot0", "hdparm1", ""})
    changes[std::string("named ") + name] = named(name);
  check(changes, kKernels, Reason::disk);
  CHECK(std::string(facts_of(Reason::disk).rule) == "R13");
}

TEST_CASE("R13: a disk that was taken away, or a partition beyond it, is critical") {
  check({{"no sectors", [](StackedGuest& g) { g.set_part(g.ext4.block_device, 0, 0); }},
         {"an empty partition", part(2048, 0)},
         {"a partition beyond the end", part(2048, StackedGuest::kDiskSectors - 2047)},
         {"a partition that wraps around", part(2048, UINT64_MAX - 2047)},
         {"a partition of a disk that is gone",
          [](StackedGuest& g) {
            part(2048, 4096)(g);
            g.set_part(g.ext4.block_device, 0, 0);
          }},
         {"a volume's disk",
          [](StackedGuest& g) {
            if (!g.types.structs.contains("mapped_device")) return g.set_part(g.ext4.block_device, 0, 0);
            const uint64_t disk = g.make_disk("sda", 1);
            g.move_to(g.add_dm({"linear"}, {disk}));
            g.set_part(disk, 0, 0);
          }}},
        kKernels, Reason::disk_gone);
  CHECK(std::string(facts_of(Reason::disk_gone).rule) == "R13");
}

TEST_CASE("R13: a disk that cannot be followed is critical") {
  check(
      {{"no disk", [](StackedGuest& g) { g.set("block_device", g.ext4.block_device, "bd_disk", 0); }},
       {"a disk outside RAM",
        [](StackedGuest& g) { g.set("block_device", g.ext4.block_device, "bd_disk", 0xffff890000000000); }}},
      kKernels, Reason::file_unreadable);
  KernelTypes blind = linux_6_12();
  blind.structs.at("bus_type").fields[0].type.bytes = 4;
  StackedGuest g(blind);
  const Seen seen = g.look();
  CHECK(seen.pages(PageClass::clean_cache) == 0);
  CHECK(seen.why(g.small[0]) == Reason::disk);
}

TEST_CASE("R13: dm, md and loop are followed to the machine's disks") {
  check({{"linear over two disks", [](StackedGuest& g) { g.move_to(volume(g)); }},
         {"striped", [](StackedGuest& g) { g.move_to(g.add_dm({"striped"}, {g.make_disk("sda", 1)})); }},
         {"crypt", [](StackedGuest& g) { g.move_to(g.add_dm({"crypt"}, {g.make_disk("vdc", 1)})); }},
         {"LVM on LUKS on RAID",
          [](StackedGuest& g) { g.move_to(g.add_dm({"linear"}, {g.add_dm({"crypt"}, {mirror(g)})})); }},
         {"a snapshot's origin",
          [](StackedGuest& g) { g.move_to(g.add_dm({"snapshot-origin"}, {volume(g)})); }},
         {"thin",
          [](StackedGuest& g) { g.move_to(g.add_dm({"thin"}, {g.add_dm({"thin-pool"}, {volume(g)})})); }},
         {"dm's raid",
          [](StackedGuest& g) {
            g.move_to(g.add_dm({"raid"}, {volume(g), g.make_disk("vdc", 1)}));
          }},
         {"mirror", [](StackedGuest& g) { g.move_to(mirror(g)); }},
         {"loop", [](StackedGuest& g) { g.move_to(image(g)); }},
         {"seven devices deep",
          [](StackedGuest& g) {
            uint64_t device = g.make_disk("sda", 1);
            for (int i = 0; i < 7; i++) device = g.add_dm({"linear"}, {device});
            g.move_to(device);
          }}},
        kFolioKernels, Reason::plain);
}

TEST_CASE("R13: a dm device is critical unless its live table tells all") {
  const auto wrong = [](Change change) { return broken(volume, std::move(change)); };
  std::map<std::string, Change> changes = {
      {"a list of none", wrong([](StackedGuest& g) { g.begin_list(g.members_list(g.top)); })},
      {"a list of one of two", wrong([](StackedGuest& g) {
         const uint64_t list = g.members_list(g.top);
         g.set_word(list, g.word(g.word(list)));
       })},
      {"a list without an end", wrong([](StackedGuest& g) {
         g.set_word(g.word(g.members_list(g.top)), g.word(g.members_list(g.top)));
       })},
      {"one device more on the list",
       wrong([](StackedGuest& g) { g.add_member(g.top, g.make_disk("sdc", 1)); })},
      {"an nbd among its disks",
       [](StackedGuest& g) {
         g.move_to(g.add_dm({"linear"}, {g.make_disk("sda", 1), g.make_disk("nbd0", 1)}));
       }},
      {"a disk twice",
       [](StackedGuest& g) {
         const uint64_t disk = g.make_disk("sda", 1);
         g.move_to(g.add_dm({"linear"}, {disk, disk}));
       }},
      {"two that stand on each other",
       [](StackedGuest& g) {
         const uint64_t other = g.add_dm({"linear"}, {g.make_disk("sda", 1)});
         g.move_to(g.add_dm({"linear"}, {other}));
         const uint64_t devices = g.table_of(other) + g.types.offset("dm_table", "devices");
         const uint64_t entry = g.word(devices) - g.types.offset("dm_dev_internal", "list");
         g.set("dm_dev", g.get("dm_dev_internal", entry, "dm_dev"), "bdev", g.top);
         g.hold(other, {g.top});
       }},
      {"nine devices deep",
       [](StackedGuest& g) {
         uint64_t device = g.make_disk("sda", 1);
         for (int i = 0; i < 8; i++) device = g.add_dm({"linear"}, {device});
         g.move_to(device);
       }},
      {"suspended", set_dm("flags", 1 << 1)},
      {"to be removed", set_dm("flags", 1 << 6)},
      {"of another disk", set_dm("disk", 0)},
      {"no table", set_dm("map", 0)},
      {"a table of another device",
       wrong([](StackedGuest& g) { g.set("dm_table", g.table_of(g.top), "md", 0); })},
      {"no targets", wrong([](StackedGuest& g) { g.set("dm_table", g.table_of(g.top), "num_targets", 0); })},
      {"targets without number",
       wrong([](StackedGuest& g) { g.set("dm_table", g.table_of(g.top), "num_targets", UINT32_MAX); })},
      {"a target of another table",
       wrong([](StackedGuest& g) { g.set("dm_target", g.target_of(g.top), "table", 0); })},
      {"a pool out of service",
       broken([](StackedGuest& g) { return g.add_dm({"thin-pool"}, {volume(g)}); },
              [](StackedGuest& g) {
                const uint64_t context = g.get("dm_target", g.target_of(g.top), "private");
                const uint64_t pool = g.get("pool_c", context, "pool");
                g.set("pool_features", pool + g.types.offset("pool", "pf"), "mode", 4);
              })},
      {"a raid that is degraded",
       broken([](StackedGuest& g) { return g.add_dm({"raid"}, {volume(g)}); },
              [](StackedGuest& g) {
                const uint64_t raid = g.get("dm_target", g.target_of(g.top), "private");
                g.set("mddev", raid + g.types.offset("raid_set", "md"), "degraded", 1);
              })},
  };
  for (const char* type : {"error", "zero", "flakey", "delay", "dust", "snapshot", "cache", "writecache",
                           "mirror", "multipath", "integrity", "verity", "clone", "vdo", "linear2", ""})
    changes[std::string("the target ") + type] =
        wrong([=](StackedGuest& g) { g.set_target_type(g.top, type); });
  check(changes, kFolioKernels, Reason::disk_stack);
  CHECK(std::string(facts_of(Reason::disk_stack).rule) == "R13");
}

TEST_CASE("R13: an array is critical unless it runs with all its members") {
  check({{"suspended", set_md("suspended", 1)},
         {"degraded", set_md("degraded", 1)},
         {"stopped", set_md("pers", 0)},
         {"broken", set_md("flags", 1 << 9)},
         {"of another disk", set_md("gendisk", 0)},
         {"a faulty member",
          broken(mirror,
                 [](StackedGuest& g) { g.set("md_rdev", g.first_member(g.driver_of(g.top)), "flags", 1); })},
         {"a member of another array",
          broken(mirror,
                 [](StackedGuest& g) { g.set("md_rdev", g.first_member(g.driver_of(g.top)), "mddev", 0); })},
         {"of a kind that is not proven",
          [](StackedGuest& g) { g.move_to(g.add_md("faulty", {g.make_disk("sda", 1)})); }},
         {"a list of none", broken(mirror, [](StackedGuest& g) { g.begin_list(g.members_list(g.top)); })},
         {"an nbd among its disks",
          [](StackedGuest& g) {
            g.move_to(g.add_md("raid1", {g.make_disk("sda", 1), g.make_disk("nbd0", 1)}));
          }}},
        kFolioKernels, Reason::disk_stack);
}

TEST_CASE("R13: a loop device is critical unless its file is proven") {
  const auto wrong = [](const char* field, uint64_t value) {
    return broken(image, [=](StackedGuest& g) { g.set("loop_device", g.driver_of(g.top), field, value); });
  };
  const auto over = [](const char* file_system, const char* disk,
                       std::function<void(StackedGuest&, const File&)> change) {
    return [=](StackedGuest& g) {
      const File file = g.make_file(file_system, disk);
      change(g, file);
      g.move_to(g.add_loop(file));
    };
  };
  const auto nothing = [](StackedGuest&, const File&) {};
  check({{"unbound", wrong("lo_state", 0)},
         {"of another disk", wrong("lo_disk", 0)},
         {"no file", wrong("lo_backing_file", 0)},
         {"a file on nbd", over("ext4", "nbd0", nothing)},
         {"a file of NFS", over("nfs", "", nothing)},
         {"a file of overlay", over("overlay", "", nothing)},
         {"a file of which a write-back failed",
          over("ext4", "vdb",
               [](StackedGuest& g, const File& f) { g.set("address_space", f.mapping, "wb_err", 5); })},
         {"no regular file",
          over("ext4", "vdb",
               [](StackedGuest& g, const File& f) { g.set("inode", f.inode, "i_mode", 0060600); })},
         {"a file that lies on the loop device itself",
          [](StackedGuest& g) {
            const File file = g.make_file("ext4", "vdb");
            g.move_to(g.add_loop(file));
            g.set("super_block", file.super_block, "s_bdev", g.top);
          }}},
        kFolioKernels, Reason::disk_stack);
}

TEST_CASE("R13: a kernel that does not tell its drivers' types has no stacked disk that is proven") {
  check({{"dm", named("dm-0")}, {"md", named("md127")}, {"loop", named("loop3")}}, kKernels,
        Reason::disk_stack);
  KernelTypes silent = linux_6_12();
  silent.drop("dm_table", "devices");
  check({{"dm", [](StackedGuest& g) { named("dm-0")(g); }}}, {{"6.12", silent}}, Reason::disk_stack);
}

TEST_CASE("R11: of a file system that has failed no page may be lost") {
  const auto own = [](StackedGuest& g) { return g.get("super_block", g.ext4.super_block, "s_fs_info"); };
  const auto error = [](uint32_t value) -> Change {
    return [=](StackedGuest& g) { g.set("super_block", g.ext4.super_block, "s_wb_err", value); };
  };
  check({{"EIO", error(5)}, {"EIO, seen and counted", error(0x13005)}}, kKernels, Reason::file_system_failed);
  check({{"ENOSPC", error(28)}, {"only a mark", error(0x1000)}}, kKernels, Reason::plain);
  check({{"ext4 shut down", [=](StackedGuest& g) { g.set("ext4_sb_info", own(g), "s_ext4_flags", 2); }},
         {"ext4 with errors", [=](StackedGuest& g) { g.set("ext4_sb_info", own(g), "s_mount_state", 3); }}},
        kFolioKernels, Reason::file_system_failed);
  check({{"ext4 mounted in order",
          [=](StackedGuest& g) { g.set("ext4_sb_info", own(g), "s_mount_state", 1); }}},
        kFolioKernels, Reason::plain);
  check({{"what is not ext4's", [=](StackedGuest& g) { g.set("ext4_sb_info", own(g), "s_sb", 0); }}},
        kFolioKernels, Reason::file_unreadable);
  for (const auto& [release, types] : kFolioKernels) {
    const auto& kernel = release;
    CAPTURE(kernel);
    StackedGuest g(types);
    const uint64_t pfn = g.add_folio(g.xfs, 2048);
    g.set("xfs_mount", g.get("super_block", g.xfs.super_block, "s_fs_info"), "m_opstate", 1 << 2 | 1 << 5);
    const Seen seen = g.look();
    CHECK(seen.why(pfn) == Reason::file_system_failed);
    CHECK(seen.at(g.small[0]) == PageClass::clean_cache);
  }
  CHECK(std::string(facts_of(Reason::file_system_failed).rule) == "R11");
}

TEST_CASE("R13: what no running guest was seen to re-read through is critical") {
  check({{"raid 6", [](StackedGuest& g) { g.move_to(g.add_md("raid6", {g.make_disk("sda", 1)})); }},
         {"raid 4", [](StackedGuest& g) { g.move_to(g.add_md("raid4", {g.make_disk("sda", 1)})); }},
         {"md linear", [](StackedGuest& g) { g.move_to(g.add_md("linear", {g.make_disk("sda", 1)})); }},
         {"loop over tmpfs", [](StackedGuest& g) { g.move_to(g.add_loop(g.make_file("tmpfs", ""))); }}},
        kFolioKernels, Reason::disk_stack);
}

TEST_CASE("R8: a file system of another name is not ext4") {
  const auto renamed = [](const char* name) -> Change {
    return [=](StackedGuest& g) {
      const uint64_t sb = g.ext4.super_block;
      g.set("file_system_type", g.get("super_block", sb, "s_type"), "name", g.text(name));
    };
  };
  check({{"ext2", renamed("ext2")}, {"ext3", renamed("ext3")}}, kFolioKernels, Reason::file_system);
}
