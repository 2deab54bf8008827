#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "gallop/config/schema.h"

namespace gallop::sparse {

/// The dense-to-sparse gate of EvoMoE (arXiv 2112.14397): all experts at first, and fewer as the
/// temperature falls.
struct DenseToSparseSettings : config::Fields<DenseToSparseSettings> {
  double from = 2, to = 0.3, threshold = 1e-3;
  int64_t steps = 1000;
  std::optional<int64_t> hard_after;
  std::string schedule = "exponential", weights = "gate", inference = "top-1";
  void fields(config::Visitor& v) override;
  /// from (to/from)^(step/steps), or the straight line; never below `to`.
  double temperature_at(int64_t step) const;
};

/// softmax((logits + G) / temperature) with Gumbel noise G = -log(-log(uniform)).
at::Tensor gumbel_softmax(const at::Tensor& logits, const at::Tensor& uniform, double temperature);

}  // namespace gallop::sparse
