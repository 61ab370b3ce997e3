// SPDX-License-Identifier: Apache-2.0
#include "core/pages/reason.hh"

namespace pars {

namespace {

// In the order of enum Reason.
constexpr ReasonFacts kFacts[] = {
    {"not-introspected", "R7", "in a guest whose kernel is not proven"},
    {"not-guest-ram", "", "in a RAM block that is not the guest's RAM"},
    {"segment-unproven", "R6", "in a segment whose place in guest memory is not proven"},
    {"no-struct-page", "R6", "without a struct page"},
    {"stray-page", "R10", "part of a compound page whose head and tails do not agree"},
    {"kernel-use", "", "used by the kernel"},
    {"reserved", "", "reserved by the kernel"},
    {"off-the-lists", "R9", "without references or isolated, and not in a free block"},
    {"page-type", "", "marked with its type in the struct page"},
    {"anonymous", "", "memory of a process"},
    {"swap-backed", "", "shared memory or a file of a RAM-backed file system"},
    {"free-block", "R4", "in a block of the buddy allocator"},
    {"newer-than-disk", "", "dirty or being written back"},
    {"mapped", "", "in somebody's page tables"},
    {"plain", "R8", "clean, without private state"},
    {"iomap-blocks", "R8", "clean, with all its iomap blocks up to date"},
    {"buffer-heads", "R8", "clean, with all its buffer heads up to date and idle"},
    {"btrfs-mark", "R8", "clean, with the mark of a btrfs data page"},
    {"btrfs-blocks", "R8", "clean, with all its btrfs blocks up to date"},
    {"layout-unknown", "R7", "cache of a kernel whose cache structures are not fully known"},
    {"unknown-member", "R14",
     "cache of a kernel with a member that was never met in the structures that prove a page"},
    {"busy-flags", "R8", "cache with page flags that are not those of an idle clean page"},
    {"references", "R9", "held by somebody besides the cache"},
    {"private-unknown", "R8", "cache with private state of a kind without a proven recovery"},
    {"private-busy", "R8", "cache whose private state is not that of a clean, idle page"},
    {"file-unreadable", "R7", "cache of a file whose inode cannot be followed"},
    {"delete-seqcnt", "R14", "cache that the kernel reads without references"},
    {"write-back-error", "R11", "cache of a file of which a write-back failed"},
    {"file-system-failed", "R11", "cache of a file system that was shut down or has met errors"},
    {"pinned-mapping", "R8", "cache of an unevictable or inaccessible mapping"},
    {"not-regular", "R8", "cache of a block device, a directory or an internal inode"},
    {"inode-flags", "R12", "cache of an encrypted, verity, DAX or swap file"},
    {"inode-kind", "R12", "cache of a realtime file or of an inode that the file system keeps for itself"},
    {"file-system-types", "R12", "cache of a file system whose own types are not known"},
    {"file-system", "R8", "cache of a file system that is not proven"},
    {"no-block-device", "R8", "cache of a file system without a block device"},
    {"disk", "R13", "cache of a disk that is not proven to be the machine's own"},
    {"disk-gone", "R13", "cache of a disk that was taken away"},
    {"disk-stack", "R13",
     "cache of a dm, md or loop device that is not proven to stand on the machine's own disks alone"},
    {"read-only-thp", "R10", "cache of a file with read-only huge pages"},
    {"folio-order", "R10", "in a large folio that its mapping does not declare"},
    {"not-in-tree", "R5", "cache that is not in its mapping's tree"},
    {"scattered", "", "in a folio whose pages are scattered over the image"},
    {"recovery-target", "R8", "cache whose recovery would write where nothing may be written"},
    {"claimed-twice", "R8", "in a free block and part of a folio at once"},
};
static_assert(sizeof kFacts / sizeof *kFacts == kReasons);

}  // namespace

const ReasonFacts& facts_of(Reason reason) {
  const size_t i = static_cast<size_t>(reason);
  return kFacts[i < kReasons ? i : 0];
}

}  // namespace pars
