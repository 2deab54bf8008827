#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

namespace gallop::formats {

/// The number of type T at `from`, its lowest byte first. There must be sizeof(T) bytes, at any
/// address.
template <std::unsigned_integral T>
T read_little(const void* from) {
  const auto* bytes = static_cast<const uint8_t*>(from);
  uint64_t value = 0;
  for (size_t i = sizeof(T); i-- > 0;) value = value << 8 | bytes[i];
  return static_cast<T>(value);
}

/// The same, its highest byte first.
template <std::unsigned_integral T>
T read_big(const void* from) {
  const auto* bytes = static_cast<const uint8_t*>(from);
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value = value << 8 | bytes[i];
  return static_cast<T>(value);
}

/// Appends the sizeof(T) bytes of a number, the lowest first. T is always named, since a format
/// says how many bytes there are, and the type of an expression does not.
template <std::unsigned_integral T>
void append_little(std::string& to, std::type_identity_t<T> value) {
  for (size_t i = 0; i < sizeof(T); ++i)
    to += static_cast<char>(static_cast<uint64_t>(value) >> (8 * i));
}

}  // namespace gallop::formats
