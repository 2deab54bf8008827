#pragma once

#include <memory>

#include "gallop/models/model.h"
#include "gallop/ops/inference/packed_weights.h"

namespace gallop::models {

/// The weights of a model cut into panels, in the precision of this thread's products: for guards
/// of one's own (ops::PackedGuard), where forwards of several models or sessions take turns.
std::unique_ptr<const ops::PackedWeights> packed_weights(const Model& model);

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
