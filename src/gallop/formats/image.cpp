#include "gallop/formats/image.h"

#include <algorithm>
#include <array>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/formats/jpeg.h"
#include "gallop/formats/png.h"

namespace gallop::formats {
namespace {

constexpr std::array png_signature{std::byte{0x89}, std::byte{'P'},  std::byte{'N'},
                                   std::byte{'G'},  std::byte{0x0d}, std::byte{0x0a},
                                   std::byte{0x1a}, std::byte{0x0a}};
constexpr std::array jpeg_signature{std::byte{0xff}, std::byte{0xd8}, std::byte{0xff}};

bool begins_with(std::span<const std::byte> bytes, std::span<const std::byte> signature) {
  return bytes.size() >= signature.size() &&
         std::equal(signature.begin(), signature.end(), bytes.begin());
}

}  // namespace

Image decode_image(std::span<const std::byte> bytes, const std::string& what) {
  require(!bytes.empty(), what, " is empty");
  if (begins_with(bytes, png_signature)) return decode_png(bytes, what);
  if (begins_with(bytes, jpeg_signature)) return decode_jpeg(bytes, what);
  fail(what, " is neither a PNG nor a JPEG: its first bytes are of another format");
}

Image read_image(const fs::path& path) {
  return decode_image(MappedFile(path).bytes(), "'" + path.string() + "'");
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
