#include "gallop/sparse/selections/capacity.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/choice/noise.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::sparse {

void CapacitySettings::fields(config::Visitor& v) {
  v.field("factor", factor, "capacity of an expert, in units of its even share of the choices",
          config::positive());
  v.field("minimum", minimum, "least capacity of an expert", config::at_least(1));
  v.field("rounding", rounding, "how a fractional capacity is made whole",
          {"tutel", "deepspeed", "floor"});
  v.field("order", order, "who comes first: tokens in order, by score, or at random",
          {"prefix", "score", "random"});
  v.field("inference", inference,
          "outside training: keep all choices, or drop over the capacity (samples then compete)",
          {"keep", "drop"});
}

int64_t CapacitySettings::capacity(int64_t T, int64_t E, int64_t k) const {
  const auto times = [&](int64_t share) { return factor * static_cast<double>(share); };
  const int64_t share = (T + E - 1) / E;
  double places = 0;
  if (rounding == "tutel") {
    places = static_cast<double>(k) * std::floor(times(share) + 1e-9);
  } else if (rounding == "deepspeed") {
    places = std::ceil(times(k * share) - 1e-9);
  } else {
    places = std::floor(times(k * T) / static_cast<double>(E) + 1e-9);
  }
  // No expert can have more places than there are choices, whatever the factor.
  places = std::min(places, static_cast<double>(T) * static_cast<double>(k));
  return std::max(minimum, static_cast<int64_t>(places));
}

at::Tensor by_priority(const at::Tensor& priority_T) {
  return ops::ranking(priority_T.unsqueeze(0)).squeeze(0);
}

CapacityPlaces place(const at::Tensor& key_TE, int64_t k, int64_t capacity,
                     const at::Tensor& order_T) {
  const int64_t E = key_TE.size(1);
  require(k >= 1 && k <= E, "capacity: ", k, " choices of ", E, " experts");
  require(capacity >= 1, "capacity: an expert that takes ", capacity, " tokens takes none");
  CapacityPlaces placed;
  placed.expert_Tk = ops::ranking(key_TE).narrow(1, 0, k);
  at::Tensor taken_E = at::zeros({E}, placed.expert_Tk.options());
  std::vector<at::Tensor> locations;
  for (int64_t choice = 0; choice < k; ++choice) {
    const at::Tensor expert_T = placed.expert_Tk.select(1, choice).index_select(0, order_T);
    const at::Tensor mine_TE = at::one_hot(expert_T, E);
    const at::Tensor before_TE = mine_TE.cumsum(0).sub(mine_TE).add(taken_E);
    const at::Tensor location_T = before_TE.gather(1, expert_T.unsqueeze(1)).squeeze(1);
    locations.push_back(at::empty_like(location_T).index_copy(0, order_T, location_T));
    taken_E = taken_E.add(mine_TE.sum(0));
  }
  placed.location_Tk = at::stack(locations, 1);
  placed.kept_Tk = placed.location_Tk.lt(capacity);
  return placed;
}

namespace {

// Every token takes its k best experts, and an expert that is full sends the rest away.
class CapacitySelection : public Selection {
 public:
  CapacitySelection(const CapacitySettings& settings, const Args& args)
      : Selection(*args.parent, "router"),
        settings_(settings),
        experts_(args.experts),
        active_(whole_active(name(), args.active)) {}

  Selected select(const Scores& scores, const nn::ForwardContext& ctx) const override {
    const at::NoGradGuard no_grad;
    const at::Tensor key_TE = scores.key_BLE.flatten(0, 1);
    const CapacityPlaces placed = place(
        key_TE, active_, settings_.capacity(key_TE.size(0), experts_, active_), order(scores, ctx));
    const auto mask = [&](const at::Tensor& set_Tk) {
      return at::zeros(key_TE.sizes(), set_Tk.options())
          .scatter(1, placed.expert_Tk, set_Tk)
          .reshape(scores.key_BLE.sizes());
    };
    const at::Tensor chosen_BLE = mask(at::ones_like(placed.kept_Tk));
    const bool drop = ctx.training || settings_.inference == "drop";
    if (!drop) return {.pairs = Pairs::of_mask(chosen_BLE)};
    return {.pairs = Pairs::of_mask(mask(placed.kept_Tk)),
            .before_drops = Pairs::of_mask(chosen_BLE)};
  }

  Pools pools() const override { return {.tokens = true, .samples = true, .experts = true}; }
  bool independent_at_inference() const override { return settings_.inference == "keep"; }

 private:
  // A permutation of the tokens: who is placed first.
  at::Tensor order(const Scores& scores, const nn::ForwardContext& ctx) const {
    const at::Tensor any_BL = scores.key_BLE.select(-1, 0);
    if (settings_.order == "random") {
      return by_priority(uniform_noise(ctx, name() + ".order", any_BL).flatten());
    }
    if (settings_.order == "prefix") {
      return at::arange(any_BL.numel(), any_BL.options().dtype(at::kLong));
    }
    return by_priority(scores.gate_BLE.amax(-1).flatten());
  }

  CapacitySettings settings_;
  int64_t experts_, active_;
};

const config::RegisterKind<Selection, CapacitySelection, CapacitySettings> registered{
    "capacity", "each token takes its K best experts, which drop tokens when full",
    "Switch Transformer, arXiv 2101.03961; Tutel, arXiv 2206.03382"};

}  // namespace
}  // namespace gallop::sparse
