#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace gallop {

/// A name that comes from outside (a folder, a file, metadata) as a text that stays on its line:
/// control characters, those that turn the direction of writing and bytes that are no UTF-8 become
/// "\n", "\t" or "\x1b", and a backslash becomes two, so that no two names look alike.
std::string printable(std::string_view name);

/// A printable name in single quotes.
std::string printable_in_quotes(std::string_view name);

/// The columns that a printable text takes, one a character (wide ones are not known).
size_t columns_of(std::string_view text);

}  // namespace gallop
