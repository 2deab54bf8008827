#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/experts/grouped.h"

namespace gallop::sparse {
namespace {

struct UnconditionalSettings : config::Fields<UnconditionalSettings> {
  config::Component routed{"experts", "mlp"}, null{"experts", "mlp"};
  void fields(config::Visitor& v) override {
    v.component("routed", routed, "the experts that tokens choose from");
    v.component("null", null, "the one expert of samples without a label, with weight 1");
  }
};

// Goes with the selection "conditional", which leaves samples without a label to this expert.
class UnconditionalExperts : public Experts {
 public:
  UnconditionalExperts(const UnconditionalSettings& settings, const Args& args)
      : Experts(*args.parent, ""), routed_(config::make<Experts>(settings.routed, args)) {
    Args null = args;
    null.experts = 1;
    null.active = 1;
    null.routed = false;
    null.name = "unconditional";
    null_ = config::make<Experts>(settings.null, null);
  }

  std::vector<nn::Need> needs() const override {
    return {{.what = nn::Given::null_label, .by = "the expert kind 'unconditional'"}};
  }

  at::Tensor forward(const at::Tensor& x_TD, const Kept& pairs,
                     const nn::ForwardContext& ctx) const override {
    const at::Tensor y_TD = routed_->forward(x_TD, pairs, ctx);
    if (!ctx.unconditional_B.defined()) return y_TD;
    const int64_t L = x_TD.size(0) / ctx.unconditional_B.size(0);
    const at::Tensor tokens_N = ctx.unconditional_B.repeat_interleave(L).nonzero().squeeze(1);
    const Pairs pairs_N =
        Pairs::of_sorted({.samples = 1, .tokens = x_TD.size(0), .candidates = 1}, tokens_N,
                         at::zeros(tokens_N.sizes(), tokens_N.options()));
    const Kept null(pairs_N, at::ones({tokens_N.size(0)}, x_TD.options()));
    return y_TD.add(null_->forward(x_TD, null, ctx));
  }

  at::Tensor keys_ED() const override { return routed_->keys_ED(); }

 private:
  std::unique_ptr<Experts> routed_, null_;
};

const config::RegisterKind<Experts, UnconditionalExperts, UnconditionalSettings> registered{
    "unconditional", "routed experts of another kind, and one for samples without a label",
    "ProMoE, arXiv 2510.24711"};

}  // namespace
}  // namespace gallop::sparse
