// SPDX-License-Identifier: Apache-2.0
// Sections of devices that stand before the pages, for the other side must know them before it takes any:
// virtio-mem's, of machine types of QEMU 8.0 and later. The stream tells no section's length, so one is read
// by its own fields and believed by the footer behind them. Sources: QEMU hw/virtio/virtio-mem.c
// (vmstate_virtio_mem_device_early), migration/savevm.c; docs/format.md, "virtio-mem
// in the stream".
#pragma once
#include "core/image/stream_format.hh"

namespace pars::stream {

/// Whether a section of such a device begins here, at its type.
bool begins_early_section(Cursor cursor);

/// Crosses it, footer and all. Errors: truncated, unsupported_version, bad_length, bad_magic (no footer where
/// the fields end).
Result<EarlySection> cross_early_section(Cursor& cursor);

/// Takes note of a section, but of no more of them than any machine has devices.
void note_early(std::vector<EarlySection>& noted, const std::vector<EarlySection>& more);

}  // namespace pars::stream
