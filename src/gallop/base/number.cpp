#include "gallop/base/number.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <system_error>

namespace gallop {
namespace {

template <class Number>
std::optional<Number> number_of(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

template <class Integer>
std::optional<Integer> whole_number(std::string_view text) {
  return number_of<Integer>(text);
}
template std::optional<int64_t> whole_number(std::string_view);
template std::optional<uint64_t> whole_number(std::string_view);

std::optional<double> finite_number(std::string_view text) {
  const auto value = number_of<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

}  // namespace gallop
