#include "gallop/formats/webp.h"

#include "fuzz/use.h"

namespace gallop::formats {

GALLOP_FUZZ_TARGET(webp) {
  const Decoded decoded = decode_webp(bytes, "webp");
  fuzz::use(std::as_bytes(std::span(decoded.image.pixels)));
}

}  // namespace gallop::formats
