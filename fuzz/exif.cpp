#include "gallop/formats/exif.h"

#include "fuzz/target.h"
#include "gallop/formats/image.h"

namespace gallop::formats {

GALLOP_FUZZ_TARGET(exif) { turned({2, 1, 1, {1, 2}}, exif_orientation(bytes)); }

}  // namespace gallop::formats
