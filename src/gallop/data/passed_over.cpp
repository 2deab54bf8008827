#include "gallop/data/passed_over.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "gallop/base/human.h"
#include "gallop/base/printable.h"

namespace gallop::data {
namespace {

constexpr size_t most_kinds = 8, most_names = 4;

}  // namespace

void PassedOver::add(const std::string& kind) { ++counts_[kind]; }

void PassedOver::add_file(const fs::path& path) {
  if (path.filename().string().starts_with('.')) return add("hidden");
  std::string end = path.extension().string();
  std::transform(end.begin(), end.end(), end.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  add(end.size() < 2 ? "without an ending" : printable(end));
}

std::string PassedOver::text(const fs::path& where) const {
  std::vector<std::pair<std::string, int64_t>> kinds(counts_.begin(), counts_.end());
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> parts;
  int64_t rest = 0;
  for (const auto& [kind, count] : kinds) {
    if (parts.size() < most_kinds)
      parts.push_back(std::to_string(count) + " " + kind);
    else
      rest += count;
  }
  if (rest > 0) parts.push_back(std::to_string(rest) + " of other kinds");
  return "not read in " + printable_in_quotes(where.string()) + ": " + join_list(parts);
}

std::vector<std::string> unread_files(const fs::path& folder, const std::vector<std::string>& names,
                                      const std::string& why) {
  if (names.empty()) return {};
  std::vector<std::string> shown;
  for (const std::string& name : names)
    if (shown.size() < most_names) shown.push_back(printable_in_quotes(name));
  if (names.size() > most_names)
    shown.push_back(std::to_string(names.size() - most_names) + " more");
  return {"not read in " + printable_in_quotes(folder.string()) + ": " + join_list(shown) + ", " +
          why};
}

}  // namespace gallop::data
