#include "gallop/sparse/selections/growing.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/sparse/choice/step_counter.h"

namespace gallop::sparse {

int64_t GrowingSettings::active_at(int64_t step, int64_t to) const {
  const double share = static_cast<double>(std::min(step, steps)) / static_cast<double>(steps);
  return static_cast<int64_t>(
      std::nearbyint(static_cast<double>(from) + static_cast<double>(to - from) * share));
}

namespace {

class GrowingSelection : public Selection {
 public:
  GrowingSelection(const GrowingSettings& settings, const Args& args)
      : Selection(*args.parent, "router"),
        settings_(settings),
        tokens_(args.tokens),
        to_(whole_active(name(), args.active)),
        counter_(*this) {
    require(settings.from <= args.experts, name(), ": selection.from = ", settings.from, " of ",
            args.experts, " experts");
  }

  Selected select(const Scores& scores, const nn::ForwardContext& ctx) const override {
    const at::NoGradGuard no_grad;
    const int64_t K = settings_.active_at(counter_.steps(), to_);
    const at::Tensor key_TE = scores.key_BLE.flatten(0, 1);
    const at::Tensor best_BLK =
        ops::topk(key_TE, K).reshape({scores.key_BLE.size(0), scores.key_BLE.size(1), K});
    Selected selected{.pairs = Pairs::of_lists(best_BLK, key_TE.size(1))};
    if (ctx.training) selected.pending.push_back(counter_.update());
    return selected;
  }

  Pools pools() const override { return {.experts = true}; }
  std::optional<int64_t> kept_pairs(int64_t samples) const override {
    return samples * tokens_ * settings_.active_at(counter_.steps(), to_);
  }

 private:
  GrowingSettings settings_;
  int64_t tokens_, to_;
  StepCounter counter_;
};

const config::RegisterKind<Selection, GrowingSelection, GrowingSettings> registered{
    "growing", "token choice whose K grows over the training, for a frozen router",
    "SMoE-Dropout, arXiv 2303.01610"};

}  // namespace
}  // namespace gallop::sparse
