#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::config {

/// Values as TOML. Floats are the shortest text that reads back to the same bits and always look
/// like floats ("1.0"); strings are quoted and escaped.
std::string to_text(bool value);
std::string to_text(int64_t value);
std::string to_text(double value);
std::string to_text(std::string_view value);
std::string to_text(const char*) = delete;  // would choose bool
template <class T>
std::string to_text(const std::vector<T>& values) {
  std::string text = "[";
  for (const auto& value : values) text += (text.size() > 1 ? ", " : "") + to_text(value);
  return text + "]";
}

/// A key as TOML: bare where that is allowed, otherwise quoted.
std::string key_text(std::string_view key);

/// ">= 1", "> 0 and <= 1", "0 to 1"; empty for a range without bounds. An end at the largest double
/// is no bound.
std::string to_text(const Range& range);
/// Whether the value lies in the range; never for NaN and infinities.
bool contains(const Range& range, double value);

/// "'a', 'b', 'c'"; "none" for an empty list.
std::string quoted_list(const std::vector<std::string>& names);
/// ", did you mean 'x'?" with the candidate nearest to `word`, or nothing if none is near.
std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates);

/// Breaks a text at spaces into lines of at most `columns` where words allow; never empty.
std::vector<std::string> wrap(const std::string& text, size_t columns);

}  // namespace gallop::config
