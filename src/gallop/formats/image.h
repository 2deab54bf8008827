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

/// Decodes a PNG or JPEG, told apart by their first bytes; transparency is dropped, palettes and 16
/// bits become 8 bits. `what` (a file name) begins the text of the Error for anything that is
/// damaged, cut short, larger than `most_pixels` or of another format.
Image decode_image(std::span<const std::byte> bytes, const std::string& what);
Image read_image(const fs::path& path);

/// The picture in colour (3) or in grey (1, by the luma weights of ITU-R 601 in 16 bits).
Image to_channels(Image image, int64_t channels);

/// A whole PNG file in memory, and on disk (atomically, see write_file_atomically).
std::string encode_png(const Image& image);
void write_png(const fs::path& path, const Image& image);

}  // namespace gallop::formats
