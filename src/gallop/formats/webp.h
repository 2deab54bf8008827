#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "gallop/formats/image.h"

namespace gallop::formats {

/// Decodes a WebP as `decode_image` does (which see), lossy or lossless, always in colour. An
/// animation is an Error: it is no single picture.
Decoded decode_webp(std::span<const std::byte> bytes, const std::string& what);

}  // namespace gallop::formats
