// SPDX-License-Identifier: Apache-2.0
#include "core/frames/recovery_frame.hh"

#include <algorithm>

namespace pars {

static constexpr uint32_t kRecoveryVersion = 1;

template <class T>
static void store_le(uint8_t* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

RecoveryIndex::RecoveryIndex(const Recovery& recovery) : recovery_(recovery) {
  uint64_t before = 0;
  for (const FolioRecovery& folio : recovery.folios)
    sorted_ = sorted_ && before <= folio.first_payload, before = folio.first_payload;
  reach_.reserve(recovery.folios.size());
  uint64_t reach = 0;
  for (const FolioRecovery& folio : recovery.folios)
    reach_.push_back(reach = std::max(reach, folio.last_payload));
}

std::vector<RecoveryWrite> RecoveryIndex::writes_within(uint64_t begin, uint64_t end,
                                                        const std::vector<uint64_t>* payloads) const {
  const auto is_met = [&](const FolioRecovery& folio) {
    if (!payloads) return true;
    const auto at = std::lower_bound(payloads->begin(), payloads->end(), folio.first_payload);
    return at != payloads->end() && *at <= folio.last_payload;
  };
  std::vector<RecoveryWrite> writes;
  size_t i = std::lower_bound(reach_.begin(), reach_.end(), begin) - reach_.begin();
  for (; i < recovery_.folios.size(); i++) {
    const FolioRecovery& folio = recovery_.folios[i];
    if (folio.first_payload >= end && sorted_) break;
    if (folio.first_payload >= end || folio.last_payload < begin || !is_met(folio)) continue;
    auto first = recovery_.writes.begin() + folio.first_write;
    writes.insert(writes.end(), first, first + folio.writes);
  }
  return writes;
}

std::vector<uint64_t> RecoveryIndex::targets() const {
  std::vector<uint64_t> targets;
  targets.reserve(recovery_.writes.size());
  for (const RecoveryWrite& write : recovery_.writes) targets.push_back(write.image_offset);
  std::sort(targets.begin(), targets.end());
  return targets;
}

std::vector<uint8_t> encode_recovery(const std::vector<RecoveryWrite>& writes) {
  std::vector<uint8_t> out(kRecoveryHeaderBytes + writes.size() * kRecoveryWriteBytes);
  store_le(&out[0], kRecoveryVersion);
  store_le(&out[4], static_cast<uint32_t>(writes.size()));
  uint8_t* at = out.data() + kRecoveryHeaderBytes;
  for (const RecoveryWrite& write : writes) {
    store_le(at, write.image_offset);
    at[8] = write.mask;
    at[9] = write.value;
    at += kRecoveryWriteBytes;
  }
  return out;
}

Result<std::vector<RecoveryWrite>> decode_writes(Bytes bytes) {
  if (bytes.size() % kRecoveryWriteBytes)
    return corrupt(0, "recovery writes of " + std::to_string(bytes.size()) + " bytes are not whole");
  std::vector<RecoveryWrite> writes;
  writes.reserve(bytes.size() / kRecoveryWriteBytes);
  for (Cursor cursor(bytes); cursor.remaining() > 0;) {
    RecoveryWrite write;
    write.image_offset = cursor.le64();
    write.mask = cursor.u8();
    write.value = cursor.u8();
    writes.push_back(write);
  }
  return writes;
}

}  // namespace pars
