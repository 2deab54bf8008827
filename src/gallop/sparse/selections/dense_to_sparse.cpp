#include "gallop/sparse/selections/dense_to_sparse.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>

#include <algorithm>
#include <cmath>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/choice/noise.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/sparse/choice/step_counter.h"

namespace gallop::sparse {

void DenseToSparseSettings::fields(config::Visitor& v) {
  v.field("from", from, "temperature at the first step", config::positive());
  v.field("to", to, "temperature at the end", config::positive());
  v.field("steps", steps, "steps until the temperature stays", config::at_least(1));
  v.field("schedule", schedule, "how the temperature falls", {"exponential", "linear"});
  v.field("threshold", threshold, "noisy probability above which an expert is kept",
          config::between(0, 1));
  v.field("hard_after", hard_after, "step after which only the best is kept; absent: never",
          config::at_least(0));
  v.field("weights", weights, "of the kept pairs in training: the gate's, or the noisy ones",
          {"gate", "gumbel"});
  v.field("inference", inference, "experts of a token outside training", {"top-1", "all"});
}

double DenseToSparseSettings::temperature_at(int64_t step) const {
  const double share = static_cast<double>(step) / static_cast<double>(steps);
  const double now =
      schedule == "linear" ? from - (from - to) * share : from * std::pow(to / from, share);
  return std::max(now, to);
}

at::Tensor gumbel_softmax(const at::Tensor& logits, const at::Tensor& uniform, double temperature) {
  // 0 is a number that the generator draws; its Gumbel noise would be -infinity.
  const at::Tensor gumbel = uniform.clamp_min(1e-20).log().neg().log().neg();
  return logits.add(gumbel).div(temperature).softmax(-1);
}

namespace {

class DenseToSparseSelection : public Selection {
 public:
  DenseToSparseSelection(const DenseToSparseSettings& settings, const Args& args)
      : Selection(*args.parent, "router"), settings_(settings), counter_(*this) {
    require(settings.to <= settings.from, name(),
            ": the temperature falls from selection.from = ", settings.from,
            " to selection.to = ", settings.to);
    require(settings.threshold < 1, name(),
            ": no probability is above selection.threshold = ", settings.threshold,
            ", so that no expert would be kept");
  }

  Selected select(const Scores& scores, const nn::ForwardContext& ctx) const override {
    if (!ctx.training) return {.pairs = at_inference(scores)};
    const int64_t step = counter_.steps();
    const at::Tensor p_BLE =
        gumbel_softmax(scores.logits_BLE, uniform_noise(ctx, name() + ".gumbel", scores.logits_BLE),
                       settings_.temperature_at(step));
    const bool hard = settings_.hard_after && step >= *settings_.hard_after;
    Selected selected{.pairs = hard ? best(p_BLE) : Pairs::of_mask(p_BLE.gt(settings_.threshold))};
    selected.pending.push_back(counter_.update());
    if (settings_.weights == "gumbel") selected.gate_BLE = p_BLE;
    return selected;
  }

  Pools pools() const override { return {.experts = true}; }
  bool takes_lists() const override { return true; }

 private:
  static Pairs best(const at::Tensor& p_BLE) {
    const at::NoGradGuard no_grad;
    return Pairs::of_lists(
        ops::topk(p_BLE.flatten(0, 1), 1).reshape({p_BLE.size(0), p_BLE.size(1), 1}),
        p_BLE.size(2));
  }
  Pairs at_inference(const Scores& scores) const {
    if (settings_.inference == "top-1") return best(scores.logits_BLE);
    return Pairs::of_mask(
        at::ones_like(scores.logits_BLE, scores.logits_BLE.options().dtype(at::kBool)));
  }

  DenseToSparseSettings settings_;
  StepCounter counter_;
};

const config::RegisterKind<Selection, DenseToSparseSelection, DenseToSparseSettings> registered{
    "dense_to_sparse", "all experts at first, fewer as the temperature of a noisy softmax falls",
    "EvoMoE, arXiv 2112.14397"};

}  // namespace
}  // namespace gallop::sparse
