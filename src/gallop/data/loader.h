#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "gallop/data/dataset.h"

namespace gallop::data {

/// One batch in memory.
struct Batch {
  int64_t step = 0;              ///< which batch of the run, from 0
  std::vector<int64_t> indices;  ///< [B] sample indices in the data set
  std::vector<float> images;     ///< [B, C, H, W]
  std::vector<int64_t> labels;   ///< [B], empty without labels
};

/// Sample index at position `position` (0-based over the whole run) of the endless stream: epoch e
/// is a permutation of the data set that depends on (seed, e) only; no batch is ever short, it
/// continues into the next epoch.
class Order {
 public:
  Order(int64_t count, uint64_t seed);
  int64_t at(int64_t position) const;  ///< caches the permutation of the current epoch
  int64_t epoch_of(int64_t position) const;

 private:
  int64_t count_;
  uint64_t seed_;
  mutable int64_t epoch_ = -1;
  mutable std::vector<int64_t> permutation_;
};

/// Reads, augments and batches in threads beside the training with a bounded queue. Batch n holds
/// the stream positions n*batch .. n*batch+batch-1, whatever the number of threads; flips are keyed
/// by (seed, position). An exception in a worker is thrown by `next`.
class Loader {
 public:
  /// Starts at batch `first_batch` (a resume gives the step it goes on from).
  Loader(std::shared_ptr<const Dataset> dataset, const DataConfig& config, int64_t batch,
         uint64_t seed, int64_t first_batch = 0);
  ~Loader();
  Batch next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gallop::data
