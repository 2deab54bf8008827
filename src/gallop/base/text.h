#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gallop {

/// The candidate that a mistyped word most likely meant: fewest insertions, deletions, replacements
/// and swaps of neighbours, upper and lower case alike; the first of equals. Empty if none is
/// closer than a third of the word (at least one edit).
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// A text from outside as messages show it: in quotes, escaped as in JSON, cut after 80 bytes.
std::string in_quotes(std::string_view text);

/// A text from outside as it is, or in quotes and escaped as in JSON if it has control characters
/// (line breaks, what moves a terminal's cursor).
std::string printable(std::string_view text);

}  // namespace gallop
