#include "gallop/sparse/choice/pooled_selection.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "gallop/base/error.h"
#include "gallop/ops/topk_mask.h"

namespace gallop::sparse {

namespace {

// One value for each pool, samples aside: [], [E] or [L].
std::vector<int64_t> threshold_shape(const Pools& pools, const Selection::Args& args) {
  std::vector<int64_t> shape;
  if (!pools.tokens) shape.push_back(args.tokens);
  if (!pools.experts) shape.push_back(args.experts);
  return shape;
}

}  // namespace

int64_t kept_of_pool(double active, int64_t pool, int64_t experts) {
  // The tolerance repairs products such as 1.1 * 10 that binary fractions put just below an
  // integer.
  return static_cast<int64_t>(
      std::floor(active * static_cast<double>(pool) / static_cast<double>(experts) + 1e-9));
}

std::string nothing_kept(double active, int64_t pool, int64_t experts) {
  std::ostringstream text;
  text << active << " of " << experts << " experts a token are less than one pair of each pool of "
       << pool << " scores: no expert would ever run. More active experts or a larger batch, or a "
       << "selection with larger pools (race)";
  return text.str();
}

int64_t kept_by_threshold(const std::string& name, double active, int64_t pool, int64_t experts) {
  require(active > 0 && active <= static_cast<double>(experts), name, ": ", active,
          " experts a token are not more than 0 and at most the ", experts, " there are");
  const int64_t kept = kept_of_pool(active, pool, experts);
  require(kept > 0, name, ": too few scores (", pool, ") to calibrate a threshold");
  return kept;
}

PooledSelection::PooledSelection(Pools pools, const ThresholdSettings& settings, const Args& args)
    : Selection(*args.parent, "router"), pools_(pools), settings_(settings), args_(args) {
  const bool pooled[3] = {pools.samples, pools.tokens, pools.experts};
  for (int64_t d = 0; d < 3; ++d) {
    if (!pooled[d]) permutation_.push_back(d);
  }
  for (int64_t d = 0; d < 3; ++d) {
    if (pooled[d]) permutation_.push_back(d);
  }
  if (pools.samples || settings.inference == "threshold") {
    threshold_.emplace(*this, threshold_shape(pools, args),
                       settings.initial.value_or(std::numeric_limits<double>::quiet_NaN()));
  }
}

int64_t PooledSelection::pool_size(int64_t samples, int64_t tokens) const {
  return (pools_.samples ? samples : 1) * (pools_.tokens ? tokens : 1) *
         (pools_.experts ? args_.experts : 1);
}

std::optional<int64_t> PooledSelection::kept_pairs(int64_t samples) const {
  const int64_t pool = pool_size(samples, args_.tokens);
  const int64_t rows = pool == 0 ? 0 : samples * args_.tokens * args_.experts / pool;
  return rows * kept_of_pool(args_.active, pool, args_.experts);
}

std::optional<double> PooledSelection::kept_a_token() const {
  if (pools_.samples) return args_.active;
  if (args_.tokens == 0) return std::nullopt;
  return static_cast<double>(*kept_pairs(1)) / static_cast<double>(args_.tokens);
}

at::Tensor PooledSelection::to_rows(const at::Tensor& x_BLE) const {
  const int64_t pool = pool_size(x_BLE.size(0), x_BLE.size(1));
  return x_BLE.permute(permutation_).reshape({pool == 0 ? 0 : x_BLE.numel() / pool, pool});
}

at::Tensor PooledSelection::from_rows(const at::Tensor& rows, at::IntArrayRef shape_BLE) const {
  std::vector<int64_t> permuted, inverse(3);
  for (size_t i = 0; i < 3; ++i) {
    permuted.push_back(shape_BLE[permutation_[i]]);
    inverse[permutation_[i]] = static_cast<int64_t>(i);
  }
  return rows.reshape(permuted).permute(inverse).contiguous();
}

bool PooledSelection::by_threshold(const nn::ForwardContext& ctx) const {
  return !ctx.training && threshold_ && settings_.inference == "threshold";
}

bool PooledSelection::independent_at_inference() const {
  return !pools_.samples || by_threshold({.training = false});
}

at::Tensor PooledSelection::above_threshold(const at::Tensor& gate_BLE,
                                            const nn::ForwardContext& ctx) const {
  const at::Tensor tau = threshold_->of_samples(ctx);  // [1 or B], with [L] or [E] behind it
  require(!tau.isnan().any().item<bool>(), threshold_->name(),
          " is not set (NaN): the weights come from no training step. Train first, run `gallop "
          "calibrate`, or choose selection.inference = \"top-k\"");
  const bool positions = !pools_.tokens, experts = !pools_.experts;
  require(!positions || tau.size(1) == gate_BLE.size(1), threshold_->name(), ": thresholds for ",
          tau.size(-1), " positions, and the sample has ", gate_BLE.size(1), " tokens");
  return gate_BLE.ge(
      tau.reshape({tau.size(0), positions ? gate_BLE.size(1) : 1, experts ? gate_BLE.size(2) : 1}));
}

Selected PooledSelection::select(const Scores& scores, const nn::ForwardContext& ctx) const {
  const at::NoGradGuard no_grad;
  require(pools_.tokens || !threshold_ || scores.key_BLE.size(1) == args_.tokens, name(),
          ": this selection has a threshold for each of the ", args_.tokens,
          " positions, and gets ", scores.key_BLE.size(1),
          " tokens: model.block_routing gives a block some of them only. Use another selection, or "
          "inference = \"top-k\" for token choice");
  if (by_threshold(ctx)) {
    return {.pairs = Pairs::of_mask(above_threshold(scores.gate_BLE, ctx))};
  }

  require(!ctx.training || settings_.scope == "batch" || ctx.micro_batches == 1, name(),
          ": selection.scope = \"global\" wants one race over the whole step, and a step has ",
          ctx.micro_batches,
          " micro-batches, whose scores are not known before the first expert of "
          "the first one runs: set train.accumulate = 1 and a larger train.batch, or scope = "
          "\"batch\"");
  const at::Tensor key_rows = to_rows(scores.key_BLE);
  const int64_t K = kept_of_pool(args_.active, key_rows.size(1), args_.experts);
  Selected selected;
  at::Tensor last_R;
  if (pools_.experts && !pools_.tokens && !pools_.samples) {
    // A row is a token, which may choose among millions: no mask of them.
    const at::Tensor best_RK = ops::topk(key_rows, K);
    selected.pairs = Pairs::of_lists(
        best_RK.reshape({scores.key_BLE.size(0), scores.key_BLE.size(1), K}), key_rows.size(1));
    if (K > 0) last_R = best_RK.select(1, K - 1);
  } else {
    const ops::TopK top = ops::topk_mask(key_rows, K);
    selected.pairs = Pairs::of_mask(from_rows(top.mask_RN, scores.key_BLE.sizes()));
    last_R = top.last_R;
  }
  selected.kappa = K == 0 ? at::full({key_rows.size(0)}, std::numeric_limits<double>::infinity(),
                                     key_rows.options())
                          : to_rows(scores.gate_BLE).gather(1, last_R.unsqueeze(1)).squeeze(1);
  if (ctx.training && threshold_) {
    const at::Tensor tau = **threshold_;
    const at::Tensor kappa = pools_.samples || scores.key_BLE.size(0) == 0
                                 ? selected.kappa
                                 : selected.kappa.reshape({scores.key_BLE.size(0), -1}).mean(0);
    selected.pending.push_back({[tau, kappa, settings = settings_](const AppliedStep& step) {
      update_threshold(tau, kappa, settings.momentum_at(step.before));
    }});
  }
  return selected;
}

at::Tensor PooledSelection::threshold_scores(const at::Tensor& gate_NLE) const {
  if (!threshold_) return Selection::threshold_scores(gate_NLE);
  std::vector<int64_t> shape = threshold_->shape();
  shape.push_back(-1);
  if (pools_.samples) return to_rows(gate_NLE).reshape(shape);
  // Every sample is one more draw for its pools.
  return to_rows(gate_NLE)
      .reshape({gate_NLE.size(0), threshold_->numel(), -1})
      .transpose(0, 1)
      .reshape(shape);
}

int64_t PooledSelection::threshold_rank(int64_t scores, std::optional<double> active) const {
  if (!threshold_) return Selection::threshold_rank(scores, active);
  return scores - kept_by_threshold(name(), active.value_or(args_.active), scores, args_.experts) +
         1;
}

}  // namespace gallop::sparse
