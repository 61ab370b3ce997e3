// SPDX-License-Identifier: Apache-2.0
// Real images, where PARS_SAMPLES names a directory of them: NAME.save, and an INDEX whose lines tell a
// NAME's vCPUs.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "core/image/device_state.hh"
#include "core/image/domain_xml.hh"
#include "core/image/save_image.hh"
#include "stream_compare.hh"

using namespace pars;
namespace fs = std::filesystem;

namespace {

class MappedFile {
 public:
  explicit MappedFile(const fs::path& path) {
    fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat info {};
    if (fd_ >= 0 && fstat(fd_, &info) == 0) size_ = size_t(info.st_size);
    if (size_) at_ = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd_, 0);
  }
  ~MappedFile() {
    if (at_ != MAP_FAILED) munmap(at_, size_);
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }
  MappedFile(const MappedFile&) = delete;
  Bytes view() const { return at_ == MAP_FAILED ? Bytes{} : Bytes{static_cast<const uint8_t*>(at_), size_}; }

 private:
  int fd_ = -1;
  void* at_ = MAP_FAILED;
  size_t size_ = 0;
};

std::vector<fs::path> samples() {
  std::vector<fs::path> found;
  std::error_code none;
  if (const char* directory = std::getenv("PARS_SAMPLES"))
    for (const auto& entry : fs::directory_iterator(directory, none))
      if (entry.path().extension() == ".save") found.push_back(entry.path());
  std::ranges::sort(found);
  return found;
}

std::map<std::string, size_t> vcpus_by_name() {
  std::map<std::string, size_t> counts;
  std::ifstream index(fs::path(std::getenv("PARS_SAMPLES")) / "INDEX");
  for (std::string line; std::getline(index, line);)
    if (const size_t at = line.find(" vcpus="); at != line.npos)
      counts[line.substr(0, line.find(' '))] = size_t(std::atoi(&line[at + 7]));
  return counts;
}

void check_vcpus(const std::vector<Vcpu>& vcpus, const DomainXml& domain, bool firmware) {
  for (const Vcpu& vcpu : vcpus) {
    CHECK((vcpu.cr0 & 1 || firmware));
    if (!vcpu.paging()) continue;
    const uint64_t table = vcpu.cr3 & 0x000ffffffffff000;
    CHECK(table > 0);
    CHECK(table < domain.memory_bytes + (2ull << 30));  // the part above 4 GiB is shifted up by the PCI hole
    CHECK(vcpu.rip != 0);
  }
  const auto paging = [](const Vcpu& vcpu) { return vcpu.paging(); };
  CHECK((firmware || std::ranges::any_of(vcpus, paging)));
}

void check_stripes(Bytes image, const MigrationStream& stream) {
  for (const Stripe& stripe : stream.stripes)
    REQUIRE(stripe_records(image, stream, stripe).size() == stripe.payload_pages);
}

/// The best of three, each through a mapping of its own: what a reader pays when the image is in the page
/// cache.
double seconds_of(const fs::path& path, uint64_t offset) {
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const MappedFile file(path);
    CHECK(parse_migration_stream(file.view(), offset));
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

}  // namespace

TEST_CASE("samples: every real image parses to its end") {
  const auto paths = samples();
  if (paths.empty()) {
    std::puts("SKIPPED: no real images (PARS_SAMPLES names no directory with *.save)");
    return;
  }
  const auto vcpu_counts = vcpus_by_name();
  for (const fs::path& path : paths) {
    const std::string name = path.stem();
    INFO(name);
    const MappedFile file(path);
    const auto save = parse_save_image(file.view());
    REQUIRE(save);
    if (save->format != SaveFormat::raw) continue;
    const auto domain = parse_domain_xml(save->xml);
    REQUIRE(domain);
    const auto stream = parse_migration_stream(file.view(), save->stream_offset);
    REQUIRE(stream);
    CHECK(test::difference(parse_migration_stream(file.view(), save->stream_offset, {file.fd(), true}),
                           stream) == "");
    CHECK(test::difference(stream, parse_migration_stream_plainly(file.view(), save->stream_offset)) == "");
    CHECK(domain->memory_bytes <= stream->payload_records * 4096 + stream->zero_records * 4096);
    check_stripes(file.view(), *stream);
    const auto vcpus = read_vcpus(file.view(), *stream);
    REQUIRE(vcpus);
    if (const auto known = vcpu_counts.find(name); known != vcpu_counts.end())
      CHECK(vcpus->size() == known->second);
    check_vcpus(*vcpus, *domain, name.find("firmware") != name.npos);
    const double seconds = seconds_of(path, save->stream_offset);
    std::printf("%s: %.0f MB walked in %.1f ms, %.1f GB/s\n", name.c_str(), double(file.view().size()) / 1e6,
                seconds * 1e3, double(file.view().size()) / seconds / 1e9);
  }
}
