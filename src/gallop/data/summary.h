#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gallop/data/dataset.h"

namespace gallop::data {

/// How many samples each class has; empty without classes.
std::vector<int64_t> class_counts(const Dataset& dataset);

/// What is said of a split ("train" or "test") before it is used: its DatasetInfo::notices and, of
/// the train split, the classes that have no samples.
std::vector<std::string> notices(const Dataset& dataset, const std::string& split);

/// Mean and standard deviation of the values, one a channel.
struct Moments {
  std::vector<double> mean, deviation;
  int64_t samples = 0;  ///< read for it, spread evenly over the data
};

/// Reads as many samples as hold `most_values` numbers, at least one, spread evenly over the data.
Moments moments(const Dataset& dataset, int64_t most_values);

/// Samples to show on a sheet.
struct Examples {
  std::vector<int64_t> indices;
  int64_t columns = 0;
};

/// With classes: a row each for at most `rows` classes that have samples, spread evenly over all of
/// them; each row holds the first `columns` samples of its class, fewer where a class shown has not
/// so many. Without classes: rows * columns samples spread evenly over the data, or all.
Examples choose_examples(const Dataset& dataset, int64_t rows, int64_t columns);

}  // namespace gallop::data
