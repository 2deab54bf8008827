#pragma once

#include "gallop/sparse/choice/selection.h"

namespace gallop::sparse {

/// What the outputs of a token's experts are multiplied by, once the pairs are chosen.
class Weighting {
 public:
  static constexpr const char* category = "weighting";
  struct Args {};
  virtual ~Weighting() = default;
  /// In the shape of the scores; only those of the kept pairs are used. Differentiable in the
  /// scores.
  virtual at::Tensor weights(const Scores& scores, const Selected& selected) const = 0;
};

}  // namespace gallop::sparse
