#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gallop/base/file.h"

namespace gallop::formats {

/// The largest picture that is read, written or made.
constexpr int64_t most_pixels = int64_t{1} << 28;

/// An 8-bit picture: rows from the top, pixels from the left, channels interleaved.
struct Image {
  int64_t width = 0, height = 0;
  int64_t channels = 0;         ///< 1 grey or 3 red, green, blue
  std::vector<uint8_t> pixels;  ///< [height, width, channels]
};

/// A picture as it is stored, and how it is to be turned.
struct Decoded {
  Image image;
  int orientation = 1;  ///< as EXIF says, see exif_orientation
};

/// Whether a picture is turned as its EXIF data say, or left as it is stored.
enum class Turn { as_noted, never };

/// Decodes a PNG, JPEG or WebP, told apart by their first bytes; transparency is dropped, palettes
/// and 16 bits become 8 bits. `what` (a file name) begins the text of the Error for anything that
/// is damaged, cut short, larger than `most_pixels` or of another format.
Image decode_image(std::span<const std::byte> bytes, const std::string& what,
                   Turn turn = Turn::as_noted);
Image read_image(const fs::path& path, Turn turn = Turn::as_noted);

/// The picture upright that a camera stored in one of EXIF's orientations 1 to 8: 2, 4, 5 and 7
/// mirror, 3 is upside down, 6 and 8 are a quarter to the left and to the right.
Image turned(Image image, int orientation);

/// The picture in colour (3) or in grey (1, by the luma weights of ITU-R 601 in 16 bits).
Image to_channels(Image image, int64_t channels);

/// A whole PNG file in memory, and on disk (atomically, see write_file_atomically).
std::string encode_png(const Image& image);
void write_png(const fs::path& path, const Image& image);

}  // namespace gallop::formats
