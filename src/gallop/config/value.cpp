#include "gallop/config/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <sstream>

#include "gallop/base/format.h"
#include "gallop/base/text.h"

namespace gallop::config {
namespace {

/// A bound for people: "1" rather than "1.0".
std::string bound(double value) {
  if (std::abs(value) < 1e15 && value == std::floor(value)) {
    return to_text(static_cast<int64_t>(value));
  }
  return to_text(value);
}

}  // namespace

std::string to_text(bool value) { return value ? "true" : "false"; }

std::string to_text(int64_t value) { return std::to_string(value); }

std::string to_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  std::string text(buffer, end);
  const auto exponent = text.find('e');
  if (exponent == std::string::npos) {
    if (text.find('.') == std::string::npos) text += ".0";
    return text;
  }
  // "1e-04" -> "1e-4", "1e+20" -> "1e20"
  std::string sign = text[exponent + 1] == '-' ? "-" : "";
  const auto digits = text.find_first_not_of("+-0", exponent + 1);
  return text.substr(0, exponent + 1) + sign + text.substr(digits);
}

std::string to_text(std::string_view value) {
  std::string text = "\"";
  for (const char c : value) {
    switch (c) {
      case '"':
        text += "\\\"";
        break;
      case '\\':
        text += "\\\\";
        break;
      case '\n':
        text += "\\n";
        break;
      case '\r':
        text += "\\r";
        break;
      case '\t':
        text += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          text += format("\\u%04X", static_cast<unsigned>(c));
        } else {
          text += c;
        }
    }
  }
  return text + "\"";
}

std::string key_text(std::string_view key) {
  const bool bare = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  return bare ? std::string(key) : to_text(key);
}

std::string to_text(const Range& range) {
  constexpr double largest = std::numeric_limits<double>::max();
  const bool low = range.min > -largest, high = range.max < largest;
  if (low && high && !range.open_min) return bound(range.min) + " to " + bound(range.max);
  std::string text;
  if (low) text = (range.open_min ? "> " : ">= ") + bound(range.min);
  if (high) text += (low ? " and <= " : "<= ") + bound(range.max);
  return text;
}

bool contains(const Range& range, double value) {
  if (std::isinf(value)) return false;
  return (range.open_min ? value > range.min : value >= range.min) && value <= range.max;
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text.empty() ? "none" : text;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates) {
  const auto best = nearest(word, candidates);
  return best.empty() ? "" : ", did you mean '" + best + "'?";
}

std::vector<std::string> wrap(const std::string& text, size_t columns) {
  std::vector<std::string> lines(1);
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    auto& line = lines.back();
    if (line.empty()) {
      line = word;
    } else if (line.size() + 1 + word.size() <= columns) {
      line += " " + word;
    } else {
      lines.push_back(word);
    }
  }
  return lines;
}

}  // namespace gallop::config
