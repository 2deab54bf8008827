#pragma once

#include <cstddef>
#include <span>

namespace gallop::formats {

/// How a camera was held, from the EXIF data of a picture (a TIFF header and its first directory,
/// with or without "Exif" before it): 1 upright, 2 to 8 as the tag Orientation (0x0112) says. 1
/// where there is no such tag and where the data are damaged, whatever they are.
int exif_orientation(std::span<const std::byte> exif);

}  // namespace gallop::formats
