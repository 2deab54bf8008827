#pragma once

#include "gallop/nn/forward_context.h"
#include "gallop/nn/module.h"

namespace gallop::sparse {

/// Logits over candidates, and the prediction of the training target if the router has a head for
/// it.
struct Routed {
  at::Tensor logits_BLE;
  at::Tensor head_BLH;  ///< undefined at inference and without a head
};

/// A small network from a token to raw logits over E candidates.
class Router : public nn::Module {
 public:
  static constexpr const char* category = "router";
  struct Args {
    nn::Module* parent = nullptr;
    int64_t D = 0, experts = 0;
    int64_t target_width = 0;  ///< width of the head that predicts the training target; 0: no head
  };
  using nn::Module::Module;
  virtual Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const = 0;
};

}  // namespace gallop::sparse
