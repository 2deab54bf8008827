#include <ATen/core/grad_mode.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::sparse {
namespace {

struct AboveSettings : config::Fields<AboveSettings> {
  double score = 0;
  void fields(config::Visitor& v) override {
    v.field("score", score, "a pair is kept if its gated score is above this");
  }
};

// Every pair stands for itself, in training and at inference.
class AboveSelection : public Selection {
 public:
  AboveSelection(const AboveSettings& settings, const Args& args)
      : Selection(*args.parent, "router"), score_(settings.score) {}
  Selected select(const Scores& scores, const nn::ForwardContext&) const override {
    const at::NoGradGuard no_grad;  // the indices are never differentiable
    return {.pairs = Pairs::of_mask(scores.gate_BLE.gt(score_))};
  }
  Pools pools() const override { return {}; }

 private:
  double score_;
};

const config::RegisterKind<Selection, AboveSelection, AboveSettings> registered{
    "above", "every pair above a fixed score", "an example"};

}  // namespace
}  // namespace gallop::sparse
