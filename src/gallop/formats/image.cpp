#include "gallop/formats/image.h"

#include <algorithm>
#include <array>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/formats/jpeg.h"
#include "gallop/formats/png.h"
#include "gallop/formats/webp.h"

namespace gallop::formats {
namespace {

constexpr std::array png_signature{std::byte{0x89}, std::byte{'P'},  std::byte{'N'},
                                   std::byte{'G'},  std::byte{0x0d}, std::byte{0x0a},
                                   std::byte{0x1a}, std::byte{0x0a}};
constexpr std::array jpeg_signature{std::byte{0xff}, std::byte{0xd8}, std::byte{0xff}};
constexpr std::array riff{std::byte{'R'}, std::byte{'I'}, std::byte{'F'}, std::byte{'F'}};
constexpr std::array webp{std::byte{'W'}, std::byte{'E'}, std::byte{'B'}, std::byte{'P'}};

bool begins_with(std::span<const std::byte> bytes, std::span<const std::byte> signature) {
  return bytes.size() >= signature.size() &&
         std::equal(signature.begin(), signature.end(), bytes.begin());
}

/// The first four bytes of a RIFF container are followed by its size and its kind.
bool is_webp(std::span<const std::byte> bytes) {
  return begins_with(bytes, riff) &&
         begins_with(bytes.subspan(std::min<size_t>(bytes.size(), 8)), webp);
}

Decoded decode(std::span<const std::byte> bytes, const std::string& what) {
  require(!bytes.empty(), what, " is empty");
  if (begins_with(bytes, png_signature)) return decode_png(bytes, what);
  if (begins_with(bytes, jpeg_signature)) return decode_jpeg(bytes, what);
  if (is_webp(bytes)) return decode_webp(bytes, what);
  fail(what, " is neither a PNG nor a JPEG nor a WebP: its first bytes are of another format");
}

}  // namespace

Image decode_image(std::span<const std::byte> bytes, const std::string& what, Turn turn) {
  Decoded decoded = decode(bytes, what);
  return turn == Turn::as_noted ? turned(std::move(decoded.image), decoded.orientation)
                                : std::move(decoded.image);
}

Image read_image(const fs::path& path, Turn turn) {
  return decode_image(MappedFile(path).bytes(), "'" + path.string() + "'", turn);
}

Image turned(Image image, int orientation) {
  require(orientation >= 1 && orientation <= 8, "a picture has orientation 1 to 8, not ",
          orientation);
  if (orientation == 1) return image;
  const bool across = orientation >= 5;  // rows become columns
  const bool from_right = orientation == 2 || orientation == 3 || orientation >= 7;
  const bool from_below =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image out{
      across ? image.height : image.width, across ? image.width : image.height, image.channels, {}};
  out.pixels.resize(image.pixels.size());
  uint8_t* to = out.pixels.data();
  for (int64_t y = 0; y < out.height; ++y) {
    for (int64_t x = 0; x < out.width; ++x, to += image.channels) {
      int64_t column = across ? y : x, row = across ? x : y;
      if (from_right) column = image.width - 1 - column;
      if (from_below) row = image.height - 1 - row;
      std::copy_n(image.pixels.data() + (row * image.width + column) * image.channels,
                  image.channels, to);
    }
  }
  return out;
}

Image to_channels(Image image, int64_t channels) {
  require((image.channels == 1 || image.channels == 3) && (channels == 1 || channels == 3),
          "cannot turn a picture of ", image.channels, " channels into one of ", channels);
  if (image.channels == channels) return image;
  const size_t count = static_cast<size_t>(image.width * image.height);
  std::vector<uint8_t> pixels(count * static_cast<size_t>(channels));
  for (size_t i = 0; i < count; ++i) {
    if (channels == 3) {
      std::fill_n(pixels.begin() + static_cast<std::ptrdiff_t>(3 * i), 3, image.pixels[i]);
    } else {
      const uint8_t* p = image.pixels.data() + 3 * i;
      // 0.299, 0.587, 0.114 of 2^16
      pixels[i] = static_cast<uint8_t>((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
    }
  }
  image.channels = channels;
  image.pixels = std::move(pixels);
  return image;
}

void write_png(const fs::path& path, const Image& image) {
  write_file_atomically(path, encode_png(image));
}

}  // namespace gallop::formats
