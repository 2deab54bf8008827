#include "gallop/base/human.h"

#include <array>
#include <cmath>

#include "gallop/base/format.h"

namespace gallop {
namespace {

/// Three digits: 1.23, 12.3, 123.
std::string three_digits(double v) {
  const int decimals = v < 9.995 ? 2 : v < 99.95 ? 1 : 0;
  return format("%.*f", decimals, v);
}

}  // namespace

std::string human_bytes(uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  static constexpr std::array units{" KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
  double v = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would be printed as 1024.
  while (v >= 1023.5 && unit + 1 < units.size()) {
    v /= 1024;
    ++unit;
  }
  return format("%.*f", v < 99.95 ? 1 : 0, v) + units[unit];
}

std::string human_count(double count) {
  if (!std::isfinite(count)) return "?";
  if (count < 0) return "-" + human_count(-count);
  if (count < 999.5) {
    const bool whole = count == std::floor(count);
    return whole ? format("%.0f", count) : three_digits(count);
  }
  static constexpr std::array units{"k", "M", "B", "T", "P", "E"};
  double v = count / 1000;
  size_t unit = 0;
  while (v >= 999.5 && unit + 1 < units.size()) {
    v /= 1000;
    ++unit;
  }
  return three_digits(v) + units[unit];
}

std::string human_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 9.95) return format("%.2g s", seconds);
  if (seconds >= 1e15) return format("%.3g d", seconds / 86400);
  const auto s = std::llround(seconds);
  if (s < 60) return format("%lld s", s);
  if (s < 3600) return format("%lld min %02lld s", s / 60, s % 60);
  if (s < 86400) return format("%lld h %02lld min", s / 3600, s % 3600 / 60);
  return format("%lld d %lld h", s / 86400, s % 86400 / 3600);
}

std::string join_list(const std::vector<std::string>& items, std::string_view last) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0 && i + 1 == items.size())
      text.append(" ").append(last).append(" ");
    else if (i > 0)
      text += ", ";
    text += items[i];
  }
  return text;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace gallop
