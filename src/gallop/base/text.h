#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gallop {

/// The candidate that a mistyped word most likely meant: fewest insertions, deletions, replacements
/// and swaps of neighbours, upper and lower case alike; the first of equals. If none is closer than
/// a third of the word (at least one edit), the first of which the word is the beginning up to an
/// underscore ("keep" of "keep_last"); else empty.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// A text from outside as messages show it: in quotes, escaped as in JSON, cut after 80 bytes.
std::string in_quotes(std::string_view text);

}  // namespace gallop
