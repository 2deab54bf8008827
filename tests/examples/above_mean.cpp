#include <ATen/core/grad_mode.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {
namespace {

struct AboveMeanSettings : config::Fields<AboveMeanSettings> {
  double rate = 0.1;
  void fields(config::Visitor& v) override {
    v.field("rate", rate, "share of a step in the running mean", config::between(0, 1));
  }
};

// Keeps what is above the mean of the scores seen so far.
class AboveMeanSelection : public Selection {
 public:
  AboveMeanSelection(const AboveMeanSettings& settings, const Args& args)
      : Selection(*args.parent, "router"),
        rate_(settings.rate),
        mean_(*this, "mean", {}, nn::Init::zeros(), {.decay = false, .buffer = true}) {}

  Selected select(const Scores& scores, const nn::ForwardContext& ctx) const override {
    Selected selected{.extras = {{"excess", scores.gate_BLE.mean().sub(*mean_)}}};
    const at::NoGradGuard no_grad;
    selected.pairs = Pairs::of_mask(scores.gate_BLE.gt(*mean_));
    if (!ctx.training) return selected;
    // Each micro-batch of a step, in their order; what belongs to a step once asks step.last.
    selected.pending.push_back(
        {[mean = *mean_, rate = rate_, seen = scores.gate_BLE.mean()](const AppliedStep&) {
          const at::NoGradGuard no_grad;
          mean.lerp_(seen, rate);
        }});
    return selected;
  }
  Pools pools() const override { return {}; }
  std::vector<std::string> shows() const override { return {"excess"}; }

 private:
  double rate_;
  nn::Parameter mean_;
};

const config::RegisterKind<Selection, AboveMeanSelection, AboveMeanSettings> selection{
    "above_mean", "every pair above the running mean of the scores", "an example"};

struct ExcessSettings : config::Fields<ExcessSettings> {
  double weight = 0;  // a loss of weight 0 is not built
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss", config::at_least(0));
  }
};

// Refused at build where the selection does not show what it reads.
const config::Register<SparseLoss, ExcessSettings> loss{
    "excess", "scores stay where they were", "an example",
    [](const ExcessSettings& settings, const auto&) {
      return std::make_unique<RecordLoss>(
          "excess", settings.weight,
          [](const RoutingRecord& record) { return record.extra("excess").square(); },
          std::vector<std::string>{"excess"});
    }};

}  // namespace
}  // namespace gallop::sparse
