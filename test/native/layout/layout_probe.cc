// SPDX-License-Identifier: Apache-2.0
// layout-probe DIRECTORY...: resolves the layouts that Pars needs on the BTF of real kernels, as
// test/support/lab/btf stores it (vmlinux.btf and a file a module), and prints a line of JSON for each
// directory. layout-probe --members DIRECTORY...: prints what the types that carry the proof are made of
// there, a name a line.
#include <array>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/kernel/file_system_types.hh"
#include "core/kernel/kernel_layout.hh"

using namespace pars;
using nlohmann::json;

namespace {

std::vector<uint8_t> contents(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::shared_ptr<const Btf> load(const std::filesystem::path& file,
                                std::shared_ptr<const Btf> base = nullptr) {
  auto btf = Btf::parse(contents(file), std::move(base));
  return btf ? std::make_shared<const Btf>(std::move(*btf)) : nullptr;
}

/// What a kernel's VMCOREINFO says that its BTF does not; the values have not changed since 4.18.
Vmcoreinfo note() {
  static std::array<uint8_t, 4096> page{};  // the answer points into it
  constexpr std::string_view kText =
      "OSRELEASE=real\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\n";
  std::copy(kText.begin(), kText.end(), page.begin());
  return *Vmcoreinfo::parse(page);
}

/// The types of a file system's module, or the kernel's where it has none.
FileSystemTypes own_types(const std::filesystem::path& directory, const char* module,
                          std::shared_ptr<const Btf> kernel) {
  const auto file = directory / (std::string(module) + ".btf");
  if (!std::filesystem::exists(file)) return resolve_file_system(*kernel);
  const auto btf = load(file, kernel);
  return btf ? resolve_file_system(*btf) : FileSystemTypes();
}

void print_members(const std::filesystem::path& directory) {
  const auto kernel = load(directory / "vmlinux.btf");
  if (!kernel) return;
  const auto btrfs =
      std::filesystem::exists(directory / "btrfs.btf") ? load(directory / "btrfs.btf", kernel) : kernel;
  const auto print = [](const Btf& btf, const char* type) {
    for (const BtfName& m : btf.members(type).value_or(std::vector<BtfName>()))
      if (std::string_view(type) != "folio" || m.offset < 64) std::cout << type << "." << m.name << '\n';
  };
  for (const char* type : {"address_space", "folio", "buffer_head", "iomap_page", "iomap_folio_state"})
    print(*kernel, type);
  for (const char* type : {"btrfs_subpage", "btrfs_folio_state"}) print(*btrfs, type);
  for (const char* type : {"mapping_flags", "pageflags", "bh_state_bits"})
    for (const BtfName& m : kernel->enumerators(type).value_or(std::vector<BtfName>()))
      std::cout << type << "." << m.name << '\n';
  for (const BtfName& m : btrfs->enumerators("").value_or(std::vector<BtfName>()))
    if (m.name.starts_with("btrfs_bitmap_nr_")) std::cout << "btrfs." << m.name << '\n';
}

json probe(const std::filesystem::path& directory) {
  json out{{"kernel", directory.filename().string()}};
  const auto kernel = load(directory / "vmlinux.btf");
  if (!kernel) return out.update({{"problem", "its BTF cannot be parsed"}}), out;
  const auto types = layout_of_types(*kernel);
  const auto result = types ? with_note(*types, note()) : types;
  out["problem"] = result.why();
  if (!result) return out;
  const KernelLayout& layout = *result;
  const FileSystemTypes btrfs = own_types(directory, "btrfs", kernel),
                        xfs = own_types(directory, "xfs", kernel);
  out["cacheProblem"] = layout.cache_problem;
  out["unknownMember"] = layout.cache ? layout.cache->unknown_member : "";
  if (btrfs.btrfs && !btrfs.btrfs->unknown_member.empty()) out["unknownMember"] = btrfs.btrfs->unknown_member;
  out["modules"] = std::filesystem::exists(directory / "btrfs.btf");
  out["folios"] = layout.private_state.folios;
  out["bufferHeads"] = layout.private_state.buffer_head.has_value();
  out["iomap"] = layout.private_state.iomap.has_value();
  out["names"] = layout.names.has_value();
  out["devices"] = layout.cache && layout.cache->devices;
  out["btrfs"] = btrfs.btrfs.has_value();
  out["btrfsBlocks"] = btrfs.btrfs && btrfs.btrfs->state;
  out["xfs"] = xfs.xfs.has_value();
  return out;
}

}  // namespace

int main(int count, char** arguments) {
  const bool members = count > 1 && std::string_view(arguments[1]) == "--members";
  for (int i = members ? 2 : 1; i < count; i++) {
    if (members) print_members(arguments[i]);
    else std::cout << probe(arguments[i]) << '\n';
  }
  return 0;
}
