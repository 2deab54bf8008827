#include "gallop/base/text.h"

#include <algorithm>

#include "gallop/base/json.h"

namespace gallop {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Optimal string alignment distance.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = lower(a[i - 1]) == lower(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + !same});
      const bool swapped = i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                           lower(a[i - 2]) == lower(b[j - 1]);
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  std::string result;
  for (const auto& candidate : candidates) {
    const auto difference = candidate.size() > word.size() ? candidate.size() - word.size()
                                                           : word.size() - candidate.size();
    // Too far by length alone; also keeps hostile words of a megabyte cheap.
    if (difference >= best) continue;
    const auto edits = distance(word, candidate);
    if (edits < best && edits < std::max(word.size(), candidate.size())) {
      best = edits;
      result = candidate;
    }
  }
  if (!result.empty() || word.empty()) return result;
  const std::string beginning = std::string(word) + "_";
  for (const auto& candidate : candidates) {
    if (candidate.starts_with(beginning)) return candidate;
  }
  return result;
}

std::string in_quotes(std::string_view text) {
  constexpr size_t most = 80;
  return Json(std::string(text.substr(0, most))).dump() + (text.size() > most ? "..." : "");
}

}  // namespace gallop
