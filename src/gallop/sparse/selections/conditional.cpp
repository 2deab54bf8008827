#include "gallop/config/registry.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::sparse {
namespace {

struct ConditionalSettings : config::Fields<ConditionalSettings> {
  config::Component of{"selection", "token"};
  void fields(config::Visitor& v) override {
    v.component("of", of, "how the tokens of samples with a label choose");
  }
};

// Tokens of samples without a label choose nobody: they are left to the experts that all share.
class ConditionalSelection : public Selection {
 public:
  ConditionalSelection(const ConditionalSettings& settings, const Args& args)
      : Selection(*args.parent, ""), of_(config::make<Selection>(settings.of, args)) {}

  std::vector<nn::Need> needs() const override {
    return {{.what = nn::Given::null_label, .by = "the selection 'conditional'"}};
  }

  Selected select(const Scores& scores, const nn::ForwardContext& ctx) const override {
    Selected selected = of_->select(scores, ctx);
    if (!ctx.unconditional_B.defined()) return selected;
    const at::Tensor with_label_B = ctx.unconditional_B.logical_not();
    selected.pairs = selected.pairs.of_samples(with_label_B);
    if (selected.before_drops.defined()) {
      selected.before_drops = selected.before_drops.of_samples(with_label_B);
    }
    return selected;
  }

  Pools pools() const override { return of_->pools(); }
  bool takes_lists() const override { return of_->takes_lists(); }
  std::optional<double> kept_a_token() const override { return of_->kept_a_token(); }
  bool independent_at_inference() const override { return of_->independent_at_inference(); }
  std::vector<std::string> needs_shown() const override { return of_->needs_shown(); }
  std::vector<std::string> shows() const override { return of_->shows(); }
  const InferenceThreshold* threshold() const override { return of_->threshold(); }
  at::Tensor threshold_scores(const at::Tensor& gate_NLE) const override {
    return of_->threshold_scores(gate_NLE);
  }
  int64_t threshold_rank(int64_t scores, std::optional<double> active) const override {
    return of_->threshold_rank(scores, active);
  }

 private:
  std::unique_ptr<Selection> of_;
};

const config::RegisterKind<Selection, ConditionalSelection, ConditionalSettings> registered{
    "conditional", "another selection for samples with a label, nobody for those without",
    "ProMoE, arXiv 2510.24711"};

}  // namespace
}  // namespace gallop::sparse
