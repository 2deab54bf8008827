#include <ATen/core/grad_mode.h>
#include <ATen/ops/silu.h>

#include <tuple>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/choice/pooled_selection.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/sparse/choice/threshold.h"

namespace gallop::sparse {
namespace {

struct DiffMoeSettings : config::Fields<DiffMoeSettings> {
  double momentum = 0.95;
  std::string inference = "count";
  void fields(config::Visitor& v) override {
    v.field("momentum", momentum, "momentum of the thresholds' moving average",
            config::between(0, 1));
    v.field("inference", inference,
            "\"count\": an expert takes as many tokens of the batch as predict above its "
            "threshold, but those of largest score (the published code); \"pairs\": the very pairs "
            "that do, which no other sample changes",
            {"count", "pairs"});
  }
};

// In training expert e takes the K = floor(active T / E) tokens of the whole batch with the largest
// scores. A predictor of two layers learns from the loss `capacity` which pairs are taken, and
// touches nothing else: its input is detached. Outside training predictions above a threshold, a
// moving average of the K-th largest prediction of an expert, say how many tokens it takes. The
// predictor is `router.capacity`; the scores of the paper are those of a softmax gate.
class DiffMoeSelection : public Selection {
 public:
  DiffMoeSelection(const DiffMoeSettings& settings, const Args& args)
      : Selection(*args.parent, "router"),
        settings_(settings),
        active_(args.active),
        experts_(args.experts),
        tokens_(args.tokens),
        capacity_in_(*this, "capacity.0", args.D, args.D),
        capacity_out_(*this, "capacity.2", args.D, args.experts),
        threshold_(*this, {args.experts}, 0) {}

  Selected select(const Scores& scores, const nn::ForwardContext& ctx) const override {
    require(scores.x_BLD.defined(), name(),
            ": this selection predicts from the tokens, which this layer does not give");
    const at::Tensor capacity_BLE =
        capacity_out_.forward(at::silu(capacity_in_.forward(scores.x_BLD.detach())));
    const at::NoGradGuard no_grad;
    Selected selected;
    selected.extras["capacity"] = capacity_BLE;
    selected.compared_BLE = capacity_BLE.sigmoid();
    if (ctx.training) {
      take_the_best(scores.key_BLE, selected);
    } else {
      const at::Tensor tau_B1E = threshold_.of_samples(ctx).unsqueeze(1);
      at::Tensor mask_BLE = selected.compared_BLE.gt(tau_B1E);
      if (settings_.inference == "count") {
        mask_BLE = best_of_batch(scores.key_BLE, mask_BLE.sum({0, 1}));
      }
      selected.pairs = Pairs::of_mask(mask_BLE);
    }
    return selected;
  }

  Pools pools() const override { return {.tokens = true, .samples = true}; }
  std::optional<int64_t> kept_pairs(int64_t samples) const override {
    return experts_ * kept_of_pool(active_, samples * tokens_, experts_);
  }
  bool independent_at_inference() const override { return settings_.inference == "pairs"; }
  std::vector<std::string> shows() const override { return {"capacity"}; }
  const InferenceThreshold* threshold() const override { return &threshold_; }

  at::Tensor threshold_scores(const at::Tensor& compared_NLE) const override {
    return by_expert(compared_NLE);
  }
  // Kept is what is larger than the threshold: the best one that is not kept.
  int64_t threshold_rank(int64_t scores, std::optional<double> active) const override {
    return scores - kept_by_threshold(name(), active.value_or(active_), scores, experts_);
  }

 private:
  static at::Tensor by_expert(const at::Tensor& x_BLE) {
    return x_BLE.flatten(0, 1).t().contiguous();
  }

  void take_the_best(const at::Tensor& key_BLE, Selected& selected) const {
    const at::Tensor key_ET = by_expert(key_BLE);
    const int64_t K = kept_of_pool(active_, key_ET.size(1), experts_);
    if (K == 0 && key_ET.size(1) > 0) {
      fail(name(), ": ", nothing_kept(active_, key_ET.size(1), experts_));
    }
    selected.pairs = Pairs::of_mask(ops::topk_mask(key_ET, K).mask_RN.t().reshape(key_BLE.sizes()));
    if (K == 0) return;
    const at::Tensor kappa_E =
        std::get<0>(by_expert(selected.compared_BLE).topk(K, 1)).select(1, K - 1);
    selected.pending.push_back({[tau = *threshold_, kappa_E, m = settings_.momentum](
                                    const AppliedStep&) { update_threshold(tau, kappa_E, m); }});
  }

  // The count_E[e] largest scores of each expert, equal ones by their number.
  static at::Tensor best_of_batch(const at::Tensor& key_BLE, const at::Tensor& count_E) {
    const at::Tensor rank_ET = ops::ranking(by_expert(key_BLE)).argsort(int64_t{1});
    return rank_ET.lt(count_E.unsqueeze(1)).t().reshape(key_BLE.sizes());
  }

  DiffMoeSettings settings_;
  double active_;
  int64_t experts_, tokens_;
  nn::Linear capacity_in_, capacity_out_;
  InferenceThreshold threshold_;
};

const config::RegisterKind<Selection, DiffMoeSelection, DiffMoeSettings> registered{
    "diffmoe",
    "each expert takes its best tokens of the batch; at inference a predictor says how many",
    "DiffMoE, arXiv 2503.14487"};

}  // namespace
}  // namespace gallop::sparse
