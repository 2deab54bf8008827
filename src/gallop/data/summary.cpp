#include "gallop/data/summary.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "gallop/base/human.h"
#include "gallop/base/printable.h"

namespace gallop::data {
namespace {

/// `count` of 0..n-1, or all, spread evenly.
std::vector<int64_t> spread(int64_t count, int64_t n) {
  count = std::min(count, n);
  std::vector<int64_t> result;
  for (int64_t i = 0; i < count; ++i) result.push_back(i * n / count);
  return result;
}

constexpr size_t most_classes_named = 6;

std::string unused_classes(const DatasetInfo& info, const std::vector<int64_t>& counts) {
  std::vector<std::string> shown;
  size_t unused = 0;
  for (size_t c = 0; c < counts.size(); ++c) {
    if (counts[c] > 0 || ++unused > most_classes_named) continue;
    const std::string name = c < info.class_names.size() ? printable(info.class_names[c]) : "";
    shown.push_back(std::to_string(c) + (name.empty() ? "" : " (" + name + ")"));
  }
  if (unused == 0) return "";
  if (unused > shown.size()) shown.push_back(std::to_string(unused - shown.size()) + " more");
  const bool from_one = unused == 1 && counts[0] == 0 && info.class_names.empty();
  return std::to_string(unused) + " of " + std::to_string(counts.size()) + " classes " +
         (unused == 1 ? "has" : "have") +
         " no training sample and will not be learned: " + join_list(shown) +
         (from_one ? "; do the labels count from 1? They go from 0" : "");
}

}  // namespace

std::vector<int64_t> class_counts(const Dataset& dataset) {
  std::vector<int64_t> counts(static_cast<size_t>(dataset.info().classes));
  if (!counts.empty())
    for (int64_t i = 0; i < dataset.info().count; ++i)
      ++counts.at(static_cast<size_t>(dataset.label(i)));
  return counts;
}

std::vector<std::string> notices(const Dataset& dataset, const std::string& split) {
  std::vector<std::string> all = dataset.info().notices;
  if (split != "train") return all;
  std::string unused = unused_classes(dataset.info(), class_counts(dataset));
  if (!unused.empty()) all.push_back(std::move(unused));
  return all;
}

Moments moments(const Dataset& dataset, int64_t most_values) {
  const DatasetInfo& info = dataset.info();
  const auto channels = static_cast<size_t>(info.channels);
  const auto plane = static_cast<size_t>(info.height * info.width);
  std::vector<float> sample(channels * plane);
  std::vector<double> sums(channels), squares(channels);
  const int64_t wanted = most_values / static_cast<int64_t>(sample.size());
  const auto indices = spread(std::max<int64_t>(1, wanted), info.count);
  for (const int64_t index : indices) {
    dataset.read(index, sample);
    for (size_t c = 0; c < channels; ++c) {
      for (size_t i = c * plane; i < (c + 1) * plane; ++i) {
        const double x = sample[i];
        sums[c] += x;
        squares[c] += x * x;
      }
    }
  }
  Moments result;
  result.samples = static_cast<int64_t>(indices.size());
  const double n = static_cast<double>(indices.size()) * static_cast<double>(plane);
  for (size_t c = 0; c < channels; ++c) {
    const double mean = sums[c] / n;
    result.mean.push_back(mean);
    result.deviation.push_back(std::sqrt(std::max(0.0, squares[c] / n - mean * mean)));
  }
  return result;
}

Examples choose_examples(const Dataset& dataset, int64_t rows, int64_t columns) {
  const DatasetInfo& info = dataset.info();
  if (info.classes == 0) return {spread(rows * columns, info.count), columns};
  const auto counts = class_counts(dataset);
  std::vector<size_t> there, row_of(counts.size(), SIZE_MAX);
  for (size_t c = 0; c < counts.size(); ++c)
    if (counts[c] > 0) there.push_back(c);
  const auto shown = spread(rows, static_cast<int64_t>(there.size()));
  for (size_t row = 0; row < shown.size(); ++row) {
    const size_t c = there[static_cast<size_t>(shown[row])];
    row_of[c] = row;
    columns = std::min(columns, counts[c]);
  }
  Examples examples{std::vector<int64_t>(shown.size() * static_cast<size_t>(columns)), columns};
  std::vector<int64_t> filled(shown.size());
  for (int64_t i = 0; i < info.count; ++i) {
    const size_t row = row_of[static_cast<size_t>(dataset.label(i))];
    if (row == SIZE_MAX || filled[row] == columns) continue;
    examples.indices[row * static_cast<size_t>(columns) + static_cast<size_t>(filled[row]++)] = i;
  }
  return examples;
}

}  // namespace gallop::data
