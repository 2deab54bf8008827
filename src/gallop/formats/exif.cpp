#include "gallop/formats/exif.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "gallop/formats/bytes.h"

// The format: TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, section 2.

namespace gallop::formats {
namespace {

constexpr std::array prefix{std::byte{'E'}, std::byte{'x'}, std::byte{'i'},
                            std::byte{'f'}, std::byte{0},   std::byte{0}};
constexpr uint32_t orientation_tag = 0x0112, short_type = 3;
constexpr size_t entry_bytes = 12;

/// Numbers at places of the data, 0 where they end.
class Tiff {
 public:
  Tiff(std::span<const std::byte> bytes, bool big_endian) : bytes_(bytes), big_(big_endian) {}
  size_t size() const { return bytes_.size(); }
  uint32_t u16(size_t at) const { return number<uint16_t>(at); }
  uint32_t u32(size_t at) const { return number<uint32_t>(at); }

 private:
  template <class T>
  T number(size_t at) const {
    if (at > bytes_.size() || sizeof(T) > bytes_.size() - at) return 0;
    const std::byte* from = bytes_.data() + at;
    return big_ ? read_big<T>(from) : read_little<T>(from);
  }
  std::span<const std::byte> bytes_;
  bool big_;
};

}  // namespace

int exif_orientation(std::span<const std::byte> exif) {
  if (exif.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), exif.begin()))
    exif = exif.subspan(prefix.size());
  if (exif.size() < 8) return 1;
  const auto order = std::to_integer<char>(exif[0]);
  if ((order != 'I' && order != 'M') || exif[1] != exif[0]) return 1;
  const Tiff tiff(exif, order == 'M');
  if (tiff.u16(2) != 42) return 1;
  const size_t directory = tiff.u32(4);
  const size_t entries = tiff.u16(directory);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * entry_bytes;
    if (entry + entry_bytes > tiff.size()) break;
    if (tiff.u16(entry) != orientation_tag) continue;
    const uint32_t value = tiff.u16(entry + 8);
    const bool is_short = tiff.u16(entry + 2) == short_type && tiff.u32(entry + 4) == 1;
    return is_short && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace gallop::formats
