// SPDX-License-Identifier: Apache-2.0
// The libvirt header, and the XML it leads to.
#include "core/image/save_image.hh"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto save = pars::parse_save_image({data, size});
  if (!save) {
    if (save.error().offset > size) std::abort();
    return 0;
  }
  const auto* xml = reinterpret_cast<const uint8_t*>(save->xml.data());
  if (xml < data || xml + save->xml.size() > data + size || save->stream_offset > size) std::abort();
  return 0;
}
