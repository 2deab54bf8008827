#include "gallop/formats/image.h"

#include <algorithm>
#include <array>

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

void write_png(const fs::path& path, const Image& image) {
  write_file_atomically(path, encode_png(image));
}

}  // namespace gallop::formats
