#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "gallop/config/schema.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/nn/linear.h"
#include "gallop/sparse/experts.h"
#include "gallop/sparse/router.h"
#include "gallop/sparse/sparse_loss.h"

namespace gallop::sparse {

/// [model.mlp] of kind "diffmoe".
struct DiffMoeSettings : config::Fields<DiffMoeSettings> {
  int64_t experts = 8;
  double active = 1;
  std::optional<int64_t> hidden;
  double momentum = 0.95;
  config::Component router{"router", "linear"}, kind_of_experts{"experts", "mlp"};
  SparseLossesConfig losses;
  void fields(config::Visitor& v) override;
  void validate() const override;
};

/// DiffMoE (arXiv 2503.14487, the rules of KwaiVGI/DiffMoE). In training expert e takes the K =
/// floor(active * T / E) tokens of the whole batch with the largest p = softmax(router); weights
/// are p. A predictor of two layers learns from the loss `capacity` which pairs are taken, and
/// touches nothing else: its input is detached. Outside training expert e takes as many tokens as
/// predict above its threshold, a moving average of the K-th largest prediction, but those of
/// largest p: a sample's result depends on its batch. Named "moe"; the predictor is
/// `router.capacity`.
class DiffMoe : public nn::FeedForward {
 public:
  DiffMoe(const DiffMoeSettings& settings, const Args& args);
  at::Tensor forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override;

 private:
  at::Tensor predict(const at::Tensor& x_BLD) const;
  at::Tensor taken_in_training(const at::Tensor& gate_ET) const;
  at::Tensor taken_at_inference(const at::Tensor& gate_ET, const at::Tensor& predicted_ET) const;
  PendingUpdate threshold_step(const at::Tensor& predicted_ET, int64_t K) const;

  double active_, momentum_;
  std::vector<std::unique_ptr<SparseLoss>> losses_;
  std::unique_ptr<Router> router_;
  nn::Linear capacity_in_, capacity_out_;
  nn::Parameter threshold_;
  std::unique_ptr<Experts> experts_;
};

}  // namespace gallop::sparse
