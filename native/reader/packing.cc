// SPDX-License-Identifier: Apache-2.0
#include "reader/packing.hh"

#include <algorithm>

#include "core/frames/recovery_frame.hh"
#include "core/frames/stripe.hh"
#include "reader/channel.hh"

namespace pars::reader {

namespace {

struct Table {
  uint8_t kind;
  std::vector<uint8_t> bytes;
};

void send_stripe(Extent extent, const std::vector<Table>& tables) {
  const uint64_t place[2] = {extent.offset, extent.length};
  const uint32_t count = tables.size();
  send(Message::stripe,
       {{reinterpret_cast<const uint8_t*>(place), 16}, {reinterpret_cast<const uint8_t*>(&count), 4}});
  for (const Table& table : tables) send(Message::table, {{&table.kind, 1}, table.bytes});
}

/// Tells how stripes are laid out, and what the guest needs done when their clean cache is lost.
class Teller {
 public:
  explicit Teller(const Inspection* inspection) {
    if (!inspection) return;
    recovery_.emplace(inspection->recovery);
    targets_ = recovery_->targets();
  }

  Status tell(const StripeMap& map) const {
    if (!targets_are_critical(map, targets_))
      return Error{ErrorCode::bad_offset, map.extent.offset,
                   "a recovery would change bytes that may be lost themselves"};
    if (map.hole) {
      send_stripe(map.extent, {});
      return Done{};
    }
    StripeLayout layout = lay_out(map);
    std::vector<Table> tables;
    tables.push_back({kSkeletonFrame, std::move(layout.runs)});
    if (!layout.references.empty()) tables.push_back({kDiskFrame, std::move(layout.references)});
    // Clean cache may be lost, in the store and on the disks: what then becomes due is kept apart, so that
    // what is lost of the one makes the guest read nothing of the other again.
    add_recovery(map, static_cast<uint8_t>(PageClass::clean_cache), kRecoveryFrame, tables);
    add_recovery(map, kDiskFrame, kDiskRecoveryFrame, tables);
    send_stripe(map.extent, tables);
    return Done{};
  }

 private:
  void add_recovery(const StripeMap& map, uint8_t source, uint8_t kind, std::vector<Table>& tables) const {
    const std::vector<uint64_t> payloads = clean_cache_payloads(map, source);
    if (payloads.empty() || !recovery_) return;
    tables.push_back(
        {kind, encode_recovery(recovery_->writes_within(map.extent.offset, map.extent.end(), &payloads))});
  }

  std::optional<RecoveryIndex> recovery_;
  std::vector<uint64_t> targets_;
};

Status tell_blindly(const Teller& teller, uint64_t image_bytes) {
  for (uint64_t from = 0; from < image_bytes; from += kBlindStripeBytes)
    if (Status told = teller.tell({{from, std::min(kBlindStripeBytes, image_bytes - from)}, {}}); !told)
      return told;
  return Done{};
}

}  // namespace

Status send_stripes(Bytes image, const MigrationStream* stream, const Inspection* inspection,
                    uint64_t head_end, std::vector<PageReference> references) {
  const bool blind = !stream || !inspection || head_end == 0;
  const Teller teller(blind ? nullptr : inspection);
  if (blind) return tell_blindly(teller, image.size());
  if (Status told = teller.tell({{0, head_end}, {}}); !told) return told;
  for (const Stripe& stripe : stream->stripes) {
    const Extent extent{stripe.image_offset, stripe.length};
    std::vector<StripeMap> maps;
    if (stripe.hole) maps.push_back({extent, {}, true});
    else
      maps = split_stripe(
          map_stripe(image, extent, stripe_records(image, *stream, stripe), inspection->classes, references));
    for (const StripeMap& map : maps)
      if (Status told = teller.tell(map); !told) return told;
  }
  return Done{};
}

}  // namespace pars::reader
