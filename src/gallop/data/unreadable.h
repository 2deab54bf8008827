#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gallop/data/dataset.h"

namespace gallop::data {

/// A sample that could not be read.
struct Unreadable {
  int64_t index = 0;   ///< in the data set
  std::string reason;  ///< with the file
};

/// Reads the samples of a split, and where one cannot be read does as data.on_error says.
class SampleReader {
 public:
  /// `split` names it in messages and separates its random numbers.
  SampleReader(std::shared_ptr<const Dataset> dataset, bool skip_unreadable, uint64_t seed,
               std::string split);

  const DatasetInfo& info() const { return dataset_->info(); }

  struct Taken {
    int64_t index, label;  ///< as of Dataset::read
  };
  /// Reads sample `index` into `out`. If that fails, throws an Error that names the way on, or
  /// notes it in `unreadable` and takes another sample: which one is a function of seed, split,
  /// position and what can be read, so that a resume takes the same. Throws Error after 100 of
  /// them.
  Taken read(int64_t index, int64_t position, std::span<float> out,
             std::vector<Unreadable>& unreadable) const;

 private:
  std::shared_ptr<const Dataset> dataset_;
  bool skip_;
  uint64_t seed_;
  std::string split_;
};

/// Warns of unreadable samples, of each once.
class UnreadableLog {
 public:
  void tell(const std::string& split, const std::vector<Unreadable>& unreadable);

 private:
  std::set<std::pair<std::string, int64_t>> told_;
};

}  // namespace gallop::data
