#pragma once

#include <ATen/core/Tensor.h>

#include "gallop/config/schema.h"
#include "gallop/nn/module.h"

namespace gallop::sparse {

/// How the inference threshold tau follows kappa, the K-th largest score of a training batch
/// (Expert Race, arXiv 2503.16057): tau <- m tau + (1 - m) kappa.
struct ThresholdSettings : config::Fields<ThresholdSettings> {
  double momentum = 0.99;
  bool warmup = true;
  std::optional<double> initial;
  std::string inference = "threshold";
  std::string scope = "batch";  ///< a key of BatchPoolSettings only
  void fields(config::Visitor& v) override;

  /// m at a step: the constant, or min(momentum, (1+s)/(10+s)) with s the applied steps of the run.
  double momentum_at(int64_t applied_steps) const;
};

/// Of a selection whose pools span the samples of a batch.
struct BatchPoolSettings : ThresholdSettings {
  void fields(config::Visitor& v) override;
  std::unique_ptr<Struct> clone() const override {
    return std::make_unique<BatchPoolSettings>(*this);
  }
};

/// Of a selection whose pools lie inside a sample: its top-K depends on no other sample, and is
/// kept at inference unless a study wants the threshold.
struct TopKSettings : ThresholdSettings {
  TopKSettings() { inference = "top-k"; }
  std::unique_ptr<Struct> clone() const override { return std::make_unique<TopKSettings>(*this); }
};

/// One step of the moving average in place, element by element. A NaN (before the first value) is
/// replaced by kappa; where kappa is not finite (nothing was selected) tau stays.
void update_threshold(const at::Tensor& tau, const at::Tensor& kappa, double momentum);

}  // namespace gallop::sparse
