#pragma once

#include "gallop/models/model.h"
#include "gallop/ops/inference/packed_weights.h"

namespace gallop::models {

/// As long as one lives, forwards of this model on this thread cut each of its weights into panels
/// but once, in the precision of its construction. For inference on the CPU, where weights stay as
/// they are (one that changes is an Error); it takes as much memory as the weights that are used.
class PackedForward {
 public:
  explicit PackedForward(const Model& model);

 private:
  ops::PackedWeights weights_;
  ops::PackedGuard guard_;
};

}  // namespace gallop::models
