// SPDX-License-Identifier: Apache-2.0
// What a whole reading of a guest made by hand comes to.
#pragma once

#include <doctest/doctest.h>

#include "guest.hh"

namespace pars::test {

/// The reading is refused for a reason that has these words, and nothing may be lost.
inline void check_refused(Guest& g, std::string_view words) {
  const Seen seen = g.look();
  CHECK_FALSE(seen.introspected);
  CHECK(seen.expendable_pages() == 0);
  CHECK(seen.recovery.folios.empty());
  CHECK_MESSAGE(seen.reason.find(words) != std::string::npos, seen.reason);
}

inline void check_believed(Guest& g) {
  const Seen seen = g.look();
  CHECK(seen.reason == "");
  CHECK(seen.at(g.small[0]) == PageClass::clean_cache);
  CHECK(seen.at(Guest::free_block(0)) == PageClass::free_page);
}

}  // namespace pars::test
