#pragma once

#include <memory>
#include <optional>

#include "gallop/config/schema.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/sparse/layers/experts.h"

namespace gallop::sparse {

/// [model.mlp] of kind "soft_moe".
struct SoftMoeSettings : config::Fields<SoftMoeSettings> {
  int64_t experts = 8, slots = 1;
  std::optional<int64_t> hidden;
  config::Component kind_of_experts{"experts", "mlp"};
  void fields(config::Visitor& v) override;
};

/// Nothing is chosen: each expert works on slots, every slot a mixture of all tokens of its sample,
/// and each token takes a mixture of all slots (Soft MoE, arXiv 2308.00951, without the optional
/// normalisation). Named "moe"; `phi.weight` [D, E, slots].
class SoftMoe : public nn::FeedForward {
 public:
  SoftMoe(const SoftMoeSettings& settings, const Args& args);
  at::Tensor forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override;

  nn::Activations activations(double tokens) const override;

  struct Mixing {
    at::Tensor dispatch_BLES;  ///< sums to 1 over the tokens
    at::Tensor combine_BLES;   ///< sums to 1 over all slots
  };
  Mixing mixing(const at::Tensor& x_BLD) const;

 private:
  int64_t slots_;
  nn::Parameter phi_;
  std::unique_ptr<Experts> experts_;
};

}  // namespace gallop::sparse
