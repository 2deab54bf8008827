#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "gallop/formats/image.h"

namespace gallop::formats {

/// Decodes a PNG as `decode_image` does (which see); the bytes begin with the signature.
Decoded decode_png(std::span<const std::byte> bytes, const std::string& what);

}  // namespace gallop::formats
