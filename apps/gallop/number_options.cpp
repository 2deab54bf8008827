#include "gallop/number_options.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <sstream>
#include <string_view>
#include <type_traits>

#include "gallop/base/error.h"
#include "gallop/base/number.h"
#include "gallop/config/value.h"
#include "gallop/data/class_labels.h"

namespace gallop {
namespace {

/// A range in short words: "1 to 64", "at least 0 and below 2^63".
template <class Integer>
std::string range_text(const WholeRange<Integer>& range) {
  if (range.max != std::numeric_limits<Integer>::max())
    return std::to_string(range.min) + " to " + std::to_string(range.max);
  return "at least " + std::to_string(range.min) +
         (std::is_signed_v<Integer> ? " and below 2^63" : " and below 2^64");
}

std::string shown(const std::string& text) { return data::shown_name(text); }

template <class Integer>
Integer read_whole(const std::string& name, const std::string& text,
                   const WholeRange<Integer>& range) {
  const std::string digits = text.substr(text.starts_with('-') ? 1 : 0);
  require(!digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos, name,
          ": ", shown(text), " is no whole number: give decimal digits alone, ", range_text(range));
  const auto value = whole_number<Integer>(text);
  require(value && *value >= range.min && *value <= range.max, name, ": ", shown(text),
          " is out of range: it must be ", range_text(range));
  return *value;
}

double read_number(const std::string& name, const std::string& text, const config::Range& range) {
  const auto value = finite_number(text);
  const std::string limits = config::to_text(range);
  require(value.has_value(), name, ": ", shown(text), " is no finite number",
          limits.empty() ? "" : "; it must be " + limits);
  require(config::contains(range, *value), name, ": ", shown(text), " is out of range, must be ",
          limits);
  return *value;
}

/// "", "b": 1; "k", "kb": 1000; "ki", "kib": 1024; and so on to "e".
std::optional<uint64_t> bytes_of_unit(std::string unit) {
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (unit.ends_with('b')) unit.pop_back();
  if (unit.empty()) return 1;
  const size_t power = std::string_view("kmgtpe").find(unit[0]);
  const bool binary = unit.substr(1) == "i";
  if (power == std::string_view::npos || (unit.size() > 1 && !binary)) return std::nullopt;
  uint64_t factor = 1;
  for (size_t i = 0; i <= power; ++i) factor *= binary ? 1024 : 1000;
  return factor;
}

/// An option whose text goes through `read`.
template <class Read>
CLI::Option* add(CLI::App& command, const std::string& name, const std::string& doc,
                 const std::string& type, Read read) {
  const std::function<void(const std::string&)> take = read;
  return command.add_option_function<std::string>(name, take, doc)->type_name(type);
}

}  // namespace

CLI::Option* add_whole_number(CLI::App& command, const std::string& name, int64_t& value,
                              const std::string& doc, WholeRange<int64_t> range) {
  return add(command, name, doc, "N",
             [&value, name, range](const std::string& text) {
               value = read_whole(name, text, range);
             })
      ->default_str(std::to_string(value));
}

CLI::Option* add_whole_number(CLI::App& command, const std::string& name,
                              std::optional<int64_t>& value, const std::string& doc,
                              WholeRange<int64_t> range) {
  return add(command, name, doc, "N", [&value, name, range](const std::string& text) {
    value = read_whole(name, text, range);
  });
}

CLI::Option* add_whole_number(CLI::App& command, const std::string& name,
                              std::optional<uint64_t>& value, const std::string& doc,
                              WholeRange<uint64_t> range) {
  return add(command, name, doc, "N", [&value, name, range](const std::string& text) {
    value = read_whole(name, text, range);
  });
}

CLI::Option* add_number(CLI::App& command, const std::string& name, double& value,
                        const std::string& doc, config::Range range) {
  return add(command, name, doc, "X",
             [&value, name, range](const std::string& text) {
               value = read_number(name, text, range);
             })
      ->default_str(config::to_text(value));
}

CLI::Option* add_number(CLI::App& command, const std::string& name, std::optional<double>& value,
                        const std::string& doc, config::Range range) {
  return add(command, name, doc, "X", [&value, name, range](const std::string& text) {
    value = read_number(name, text, range);
  });
}

CLI::Option* add_numbers(CLI::App& command, const std::string& name, std::vector<double>& values,
                         const std::string& doc, config::Range range) {
  return add(command, name, doc, "X,...", [&values, name, range](const std::string& text) {
    values.clear();
    std::stringstream list(text + ",");
    for (std::string entry; std::getline(list, entry, ',');) {
      values.push_back(read_number(name, entry, range));
    }
  });
}

CLI::Option* add_size(CLI::App& command, const std::string& name, uint64_t& bytes,
                      const std::string& doc, WholeRange<uint64_t> range) {
  return add(command, name, doc, "SIZE", [&bytes, name, range](const std::string& text) {
    const size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
    const size_t unit = std::min(text.find_first_not_of(' ', end), text.size());
    const auto factor = bytes_of_unit(text.substr(unit));
    require(end > 0 && factor, name, ": ", shown(text),
            " is no size: give a whole number and perhaps a unit, for example 500MB, 5GB (1000^3) "
            "or 5GiB (1024^3)");
    const auto number = whole_number<uint64_t>(text.substr(0, end));
    require(number && *number <= std::numeric_limits<uint64_t>::max() / *factor &&
                *number * *factor >= range.min && *number * *factor <= range.max,
            name, ": ", shown(text), " is out of range: it must be ", range_text(range), " bytes");
    bytes = *number * *factor;
  });
}

}  // namespace gallop
