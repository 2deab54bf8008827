#include "gallop/formats/image.h"

#include "fuzz/use.h"

namespace gallop::formats {

GALLOP_FUZZ_TARGET(image) {
  Image image = decode_image(bytes, "image");
  fuzz::use(std::as_bytes(std::span(image.pixels)));
  to_channels(std::move(image), 1);
}

}  // namespace gallop::formats
