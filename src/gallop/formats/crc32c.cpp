#include "gallop/formats/crc32c.h"

#include <array>

namespace gallop::formats {
namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0u);
    table[i] = crc;
  }
  return table;
}
constexpr auto table = make_table();

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes) {
  uint32_t crc = ~0u;
  for (const std::byte b : bytes)
    crc = crc >> 8 ^ table[(crc ^ std::to_integer<uint32_t>(b)) & 255];
  return ~crc;
}

}  // namespace gallop::formats
