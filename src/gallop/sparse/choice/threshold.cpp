#include "gallop/sparse/choice/threshold.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/where.h>

#include <algorithm>

namespace gallop::sparse {

void ThresholdSettings::fields(config::Visitor& v) {
  v.field("momentum", momentum, "momentum of the threshold's moving average",
          config::between(0, 1));
  v.field("warmup", warmup, "momentum min(momentum, (1+s)/(10+s)) with s the applied steps");
  v.field("initial", initial, "first value of the threshold; absent: the first batch's own");
  v.field("inference", inference, "how pairs are kept outside training: by threshold, or top-K",
          {"threshold", "top-k"});
}

void BatchPoolSettings::fields(config::Visitor& v) {
  ThresholdSettings::fields(v);
  v.field("scope", scope,
          "what competes in training: \"batch\": each micro-batch on its own; \"global\": the "
          "whole step, which must then be one micro-batch",
          {"batch", "global"});
}

double ThresholdSettings::momentum_at(int64_t applied_steps) const {
  if (!warmup) return momentum;
  const auto s = static_cast<double>(applied_steps);
  return std::min(momentum, (1 + s) / (10 + s));
}

void update_threshold(const at::Tensor& tau, const at::Tensor& kappa, double momentum) {
  const at::NoGradGuard no_grad;
  const at::Tensor kappa_like = kappa.to(tau.options()).reshape(tau.sizes());
  const at::Tensor moved = tau.mul(momentum).add(kappa_like, 1 - momentum);
  const at::Tensor next = at::where(tau.isnan(), kappa_like, moved);
  tau.copy_(at::where(kappa_like.isfinite(), next, tau));
}

}  // namespace gallop::sparse
