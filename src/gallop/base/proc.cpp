#include "gallop/base/proc.h"

#include <charconv>
#include <fstream>
#include <system_error>

namespace gallop {

namespace fs = std::filesystem;

std::string proc_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::optional<std::string> proc_value(const fs::path& path, std::string_view key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const size_t begin = line.find_first_not_of(" \t:", key.size());
    const bool whole_key =
        line.size() > key.size() &&
        std::string_view(" \t:").find(line[key.size()]) != std::string_view::npos;
    if (whole_key) return begin == std::string::npos ? "" : line.substr(begin);
  }
  return std::nullopt;
}

std::optional<uint64_t> proc_number(const fs::path& path, std::string_view key) {
  const auto text = proc_value(path, key);
  return text ? leading_number(*text) : std::nullopt;
}

std::optional<uint64_t> leading_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  return value;
}

}  // namespace gallop
