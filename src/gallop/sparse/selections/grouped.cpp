#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::sparse {
namespace {

struct GroupedSettings : config::Fields<GroupedSettings> {
  int64_t groups = 1, kept_groups = 1;
  double bias_rate = 1e-3;
  std::string bias_scope = "global";
  void fields(config::Visitor& v) override {
    v.field("groups", groups, "equal groups that the experts are cut into", config::at_least(1));
    v.field("kept_groups", kept_groups, "groups that a token may choose from", config::at_least(1));
    v.field("bias_rate", bias_rate, "step of each expert's bias against its load; 0: none",
            config::at_least(0));
    v.field("bias_scope", bias_scope,
            "loads that move the bias: \"global\": those of the whole step, once; \"batch\": "
            "those of each micro-batch in turn",
            {"global", "batch"});
  }
  void validate() const override {
    require(kept_groups <= groups, "selection: ", kept_groups, " kept groups of ", groups);
  }
};

// Top-K of gated score + bias inside a token's best groups; a group counts the sum of its two best.
// The bias balances the loads without a loss: it moves by a fixed step against each expert's excess
// (arXiv 2408.15664), shifts the choice only, and never the weights.
class GroupedSelection : public Selection {
 public:
  GroupedSelection(const GroupedSettings& settings, const Args& args)
      : Selection(*args.parent, "router"),
        settings_(settings),
        tokens_(args.tokens),
        active_(whole_active(name(), args.active)),
        bias_(*this, "e_score_correction_bias", {args.experts}, nn::Init::zeros(),
              {.decay = false, .buffer = true}) {
    require(args.experts % settings.groups == 0, name(), ": ", args.experts,
            " experts cannot be cut into ", settings.groups, " equal groups");
    const int64_t reachable = args.experts / settings.groups * settings.kept_groups;
    require(active_ <= reachable, name(), ": ", active_, " active experts, and the ",
            settings.kept_groups, " kept groups hold only ", reachable);
  }

  Selected select(const Scores& scores, const nn::ForwardContext& ctx) const override {
    const at::NoGradGuard no_grad;
    const at::Tensor score_TE = scores.gate_BLE.flatten(0, 1).add(*bias_);
    const at::Tensor mask_TE = ops::topk_mask(in_best_groups(score_TE), active_).mask_RN;
    Selected selected{.pairs = Pairs::of_mask(mask_TE.reshape(scores.gate_BLE.sizes()))};
    if (ctx.training && settings_.bias_rate > 0) {
      selected.pending.push_back({[this, loads_E = mask_TE.sum(0)](const AppliedStep& step) {
        move_bias(loads_E, step);
      }});
    }
    return selected;
  }

  Pools pools() const override { return {.experts = true}; }
  std::optional<int64_t> kept_pairs(int64_t samples) const override {
    return samples * tokens_ * active_;
  }

 private:
  at::Tensor in_best_groups(const at::Tensor& score_TE) const {
    if (settings_.kept_groups == settings_.groups) return score_TE;
    const int64_t T = score_TE.size(0), members = score_TE.size(1) / settings_.groups;
    const at::Tensor score_TGM = score_TE.reshape({T, settings_.groups, members});
    const int64_t best = std::min<int64_t>(2, members);
    const at::Tensor group_TG = std::get<0>(score_TGM.topk(best, -1)).sum(-1);
    const at::Tensor kept_TG = ops::topk_mask(group_TG, settings_.kept_groups).mask_RN;
    return score_TGM
        .masked_fill(kept_TG.logical_not().unsqueeze(-1), -std::numeric_limits<double>::infinity())
        .reshape(score_TE.sizes());
  }

  void move_bias(const at::Tensor& loads_E, const AppliedStep& step) const {
    const at::NoGradGuard no_grad;
    const bool whole = settings_.bias_scope == "global";
    const at::Tensor sum_E = whole ? step_loads_.add("loads", loads_E) : loads_E;
    if (whole && !step.last) return;
    step_loads_.start_step();
    const at::Tensor loads = sum_E.to(at::kDouble);
    bias_->add_(loads.mean().sub(loads).sign(), settings_.bias_rate);
  }

  GroupedSettings settings_;
  int64_t tokens_, active_;
  nn::Parameter bias_;
  mutable StepSums step_loads_;  // while the updates of a step are committed
};

const config::RegisterKind<Selection, GroupedSelection, GroupedSettings> registered{
    "grouped", "top-K inside a token's best groups of experts, loads balanced by a bias",
    "DeepSeek-V3, arXiv 2412.19437; DSMoE, arXiv 2512.01252"};

}  // namespace
}  // namespace gallop::sparse
