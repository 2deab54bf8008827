#pragma once

#include <optional>
#include <string_view>

namespace gallop {

/// The whole number that is all of `text`: decimal digits, a minus sign before them where the type
/// has one, and nothing else. Empty for any other text and for a number that the type cannot hold.
/// Integer: int64_t or uint64_t.
template <class Integer>
std::optional<Integer> whole_number(std::string_view text);
/// The number that is all of `text`, in decimal with or without an exponent. Empty for any other
/// text, for NaN and infinities, and for what a double cannot hold.
std::optional<double> finite_number(std::string_view text);

}  // namespace gallop
