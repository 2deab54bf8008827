#include "gallop/base/printable.h"

#include <algorithm>
#include <cstdint>

namespace gallop {
namespace {

struct Character {
  uint32_t code = 0;
  size_t bytes = 0;  ///< 0: what stands there is no UTF-8
};

/// The first character of a text that is not empty.
Character first_of(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (byte(0) < 0x80) return {byte(0), 1};
  const size_t bytes = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < bytes) return {};
  uint32_t code = byte(0) & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fu);
  }
  const bool overlong = code < (bytes == 2 ? 0x80u : bytes == 3 ? 0x800u : 0x10000u);
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  return overlong || surrogate || code > 0x10ffff ? Character{} : Character{code, bytes};
}

/// Control characters, separators of lines, and marks of direction, which reorder what follows.
bool moves_the_line(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x200e || code == 0x200f ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

void append_escaped(std::string& text, uint8_t byte) {
  constexpr const char* digits = "0123456789abcdef";
  text += "\\x";
  text += digits[byte >> 4];
  text += digits[byte & 15];
}

}  // namespace

std::string printable(std::string_view name) {
  std::string text;
  while (!name.empty()) {
    const Character c = first_of(name);
    const std::string_view bytes = name.substr(0, std::max<size_t>(c.bytes, 1));
    name.remove_prefix(bytes.size());
    if (bytes == "\\") {
      text += "\\\\";
    } else if (bytes == "\n") {
      text += "\\n";
    } else if (bytes == "\t") {
      text += "\\t";
    } else if (c.bytes == 0 || moves_the_line(c.code)) {
      for (const char byte : bytes) append_escaped(text, static_cast<uint8_t>(byte));
    } else {
      text += bytes;
    }
  }
  return text;
}

std::string printable_in_quotes(std::string_view name) { return "'" + printable(name) + "'"; }

size_t columns_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

}  // namespace gallop
