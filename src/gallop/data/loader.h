#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "gallop/data/dataset.h"
#include "gallop/data/unreadable.h"

namespace gallop::data {

/// One batch in memory.
struct Batch {
  int64_t position = 0;                ///< of its first sample in the stream
  std::vector<int64_t> indices;        ///< [B] sample indices in the data set
  std::vector<float> images;           ///< [B, C, H, W]
  std::vector<int64_t> labels;         ///< [B], empty without labels
  std::vector<Unreadable> unreadable;  ///< whose place others took (data.on_error = "skip")
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

/// Reads, augments and batches in threads beside the training with a bounded queue. The n-th batch
/// holds the stream positions first + n*batch .. first + n*batch + batch-1, whatever the number of
/// threads; flips are keyed by (seed, position), and so is what takes the place of a sample that
/// cannot be read. An exception in a worker is thrown by `next`.
class Loader {
 public:
  /// Starts at the stream position `first` (a resume gives the number of samples taken so far).
  Loader(std::shared_ptr<const Dataset> dataset, const DataConfig& config, int64_t batch,
         uint64_t seed, int64_t first = 0);
  ~Loader();
  Batch next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gallop::data
