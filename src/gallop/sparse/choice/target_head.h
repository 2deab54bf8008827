#pragma once

#include <optional>

#include "gallop/nn/linear.h"
#include "gallop/sparse/choice/router.h"

namespace gallop::sparse {

/// The head of a router that predicts the training target, if a loss asked for one; named "target",
/// used in training only.
class TargetHead {
 public:
  TargetHead(nn::Module& router, const Router::Args& args);
  /// From the router's last hidden state; undefined at inference and without a head.
  at::Tensor forward(const at::Tensor& z_BLD, const nn::ForwardContext& ctx) const;

 private:
  std::optional<nn::Linear> linear_;
};

}  // namespace gallop::sparse
