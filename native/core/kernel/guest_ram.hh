// SPDX-License-Identifier: Apache-2.0
// Guest-physical memory as the image holds it. Segments are laid out from the domain XML and the blocks'
// lengths (R6), never from the order of names.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/believed.hh"
#include "core/bytes.hh"
#include "core/image/domain_xml.hh"
#include "core/image/migration_stream.hh"

namespace pars {

/// A contiguous stretch of guest-physical addresses that one stretch of one RAM block backs.
struct Segment {
  uint64_t gpa = 0;
  uint64_t bytes = 0;
  uint32_t block = 0;
  uint64_t block_page = 0;  ///< page frame within the block of the segment's first byte
  bool plugged = false;  ///< a DIMM or virtio-mem: the kernel may have been given all, a part or none of it
};

/// The layout of x86 machines: i440fx and q35, RAM below and above the PCI hole, and memory devices where the
/// XML says, ascending. A device that cannot be placed is left out: its pages are critical then. Source: QEMU
/// hw/i386/pc_piix.c, pc_q35.c, pc.c.
Believed<std::vector<Segment>> lay_out_ram(const DomainXml& domain, const MigrationStream& stream);

class GuestRam {
 public:
  GuestRam(Bytes image, const MigrationStream& stream, std::vector<Segment> segments)
      : image_(image), stream_(&stream), segments_(std::move(segments)) {}

  /// The 4096 bytes of the page that holds `gpa`, or nullptr outside RAM. Never-sent and zero pages read as
  /// zeros.
  const uint8_t* page(uint64_t gpa) const;
  /// Where in the image the page's bytes lie; kZeroPage when it has none or is outside RAM.
  PageLocation location(uint64_t gpa) const;
  const Segment* segment(uint64_t gpa) const;

  const std::vector<Segment>& segments() const { return segments_; }
  const MigrationStream& stream() const { return *stream_; }
  Bytes image() const { return image_; }
  uint64_t bytes() const;
  /// One past the last guest-physical page frame number.
  uint64_t end_pfn() const {
    return segments_.empty() ? 0 : (segments_.back().gpa + segments_.back().bytes) / kPageSize;
  }

 private:
  Bytes image_;
  const MigrationStream* stream_;
  std::vector<Segment> segments_;
};

}  // namespace pars
