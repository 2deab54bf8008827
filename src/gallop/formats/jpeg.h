#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "gallop/formats/image.h"

namespace gallop::formats {

/// Decodes a JPEG as `decode_image` does (which see). Grey stays grey, CMYK (some of ImageNet)
/// becomes RGB without a colour profile. A progressive JPEG of more than 500 scans is an Error.
Decoded decode_jpeg(std::span<const std::byte> bytes, const std::string& what);

}  // namespace gallop::formats
