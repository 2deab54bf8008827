#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include <optional>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/sparse/choice/entropy.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::sparse {
namespace {

struct TopPSettings : config::Fields<TopPSettings> {
  double p = 0.75, q = 1.1, eps = entropy_eps;
  int64_t least = 1;
  bool crossing = true;
  std::optional<double> all_above;
  void fields(config::Visitor& v) override {
    v.field("p", p, "probability that the kept experts of a token make up", config::between(0, 1));
    v.field("least", least, "experts that a token has at least", config::at_least(0));
    v.field("crossing", crossing, "whether the expert that crosses p is kept too");
    v.field("all_above", all_above,
            "entropy, as a share of its maximum, above which a token uses all experts, 0.9 in "
            "DynMoLE; absent: never");
    v.field("q", q, "kind of that entropy, as in the entropy loss", config::at_least(1));
    v.field("eps", eps, "added to each probability for that entropy", config::between(0, 1));
  }
  void validate() const override {
    require(p > 0 || least > 0, "selection: p = 0 and least = 0 keep no expert at all");
  }
};

// How many experts a token has depends on its own probabilities alone.
class TopPSelection : public Selection {
 public:
  TopPSelection(const TopPSettings& settings, const Args& args)
      : Selection(*args.parent, "router"), settings_(settings) {
    require(settings.least <= args.experts, name(), ": selection.least = ", settings.least, " of ",
            args.experts, " experts");
    require(settings.all_above.value_or(0) < 1, name(),
            ": selection.all_above = ", settings.all_above.value_or(0),
            ", and the entropy is a share of its maximum, which no token exceeds: give a number "
            "below 1, or leave it out for never");
  }

  Selected select(const Scores& scores, const nn::ForwardContext&) const override {
    const at::NoGradGuard no_grad;
    const at::Tensor p_BLE = scores.logits_BLE.softmax(-1);
    const auto [sorted, expert] = p_BLE.sort(/*stable=*/true, -1, /*descending=*/true);
    const at::Tensor reached = sorted.cumsum(-1);
    at::Tensor kept =
        settings_.crossing ? reached.sub(sorted).lt(settings_.p) : reached.le(settings_.p);
    kept.narrow(-1, 0, settings_.least).fill_(true);
    at::Tensor mask_BLE = at::zeros_like(kept).scatter(-1, expert, kept);
    if (settings_.all_above) {
      const at::Tensor unsure_BL = normalised_entropy(scores.logits_BLE, settings_.q, settings_.eps)
                                       .gt(*settings_.all_above);
      mask_BLE = mask_BLE.logical_or(unsure_BL.unsqueeze(-1));
    }
    return {.pairs = Pairs::of_mask(mask_BLE)};
  }

  Pools pools() const override { return {.experts = true}; }
  bool takes_lists() const override { return true; }

 private:
  TopPSettings settings_;
};

const config::RegisterKind<Selection, TopPSelection, TopPSettings> registered{
    "top_p", "the fewest experts that make up a probability; all where the token is unsure",
    "Huang et al., arXiv 2403.07652; DynMoLE, arXiv 2504.00661"};

}  // namespace
}  // namespace gallop::sparse
