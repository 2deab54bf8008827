#pragma once

#include <string>

namespace gallop {

/// The text that std::printf would print, of any length. The compiler checks the values against the
/// pattern.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

}  // namespace gallop
