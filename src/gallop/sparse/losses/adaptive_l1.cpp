#include <ATen/ops/scalar_tensor.h>

#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/nn/module.h"
#include "gallop/sparse/choice/gate.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {
namespace {

struct AdaptiveL1Settings : config::Fields<AdaptiveL1Settings> {
  double weight = 0, initial = 1e-8, ratio = 1.2, least = 1e-8, most = 1e3;
  bool balanced = true;
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss beside the one that adapts; 1 in ReMoE",
            config::at_least(0));
    v.field("initial", initial, "the factor that adapts, at the first step", config::positive());
    v.field("ratio", ratio,
            "what a step multiplies it by where tokens use more experts than they should, and "
            "divides it by where they use fewer",
            config::at_least(1));
    v.field("least", least,
            "the smallest that it becomes; 0 in ReMoE, where it can fall so far that it takes "
            "hundreds of steps until it acts again",
            config::at_least(0));
    v.field("most", most, "the largest that it becomes", config::positive());
    v.field("balanced", balanced,
            "whether a gate counts as much as its expert is used, so that loads are even");
  }
  void validate() const override {
    require(least <= most, "losses.adaptive_l1: least = ", least, " is above most = ", most);
  }
};

// The factor of all layers that choose from the same kind of thing. It follows the share of pairs
// that a whole step keeps.
class AdaptiveFactor : public nn::Module {
 public:
  AdaptiveFactor(nn::Module& root, const std::string& name)
      : Module(root, name),
        factor_(*this, "factor", {}, nn::Init::constant(0),  // 0: before the first step
                {.decay = false, .buffer = true}) {}

  double value(const AdaptiveL1Settings& settings) const {
    const double stored = factor_->item<double>();
    return stored > 0 ? stored : settings.initial;
  }

  /// Of a micro-batch: the pairs that it kept, and those that it should keep.
  PendingUpdate update(const AdaptiveL1Settings& settings, double kept, double wanted) const {
    return {[this, settings, kept, wanted](const AppliedStep& step) {
      kept_ += kept;
      wanted_ += wanted;
      if (!step.last) return;
      const double before = value(settings);
      const double factor = kept_ > wanted_   ? before * settings.ratio
                            : kept_ < wanted_ ? before / settings.ratio
                                              : before;
      factor_->fill_(std::clamp(factor, settings.least, settings.most));
      kept_ = wanted_ = 0;
    }};
  }

 private:
  nn::Parameter factor_;
  mutable double kept_ = 0, wanted_ = 0;  // while the updates of a step are committed
};

// The mean over layers and tokens of sum_e f_e gate_e; balanced: f_e = E/(k T) times the tokens of
// the expert, else 1.
class AdaptiveL1 : public SparseLoss {
 public:
  AdaptiveL1(const AdaptiveL1Settings& settings, const Args& args)
      : settings_(settings),
        factor_(settings.weight == 0
                    ? nullptr
                    : &args.layer->shared_part<AdaptiveFactor>(
                          std::string("losses.") + plural_of(args.choice) + ".adaptive_l1")) {}

  std::string kind() const override { return "adaptive_l1"; }
  double weight() const override { return settings_.weight; }
  std::vector<std::string> needs() const override { return {exact_zeros}; }

  at::Tensor value(const RoutingRecord& record, const at::Tensor&) const override {
    const at::Tensor gate_TE = record.gate_BLE.flatten(0, 1);
    const auto T = static_cast<double>(std::max<int64_t>(1, gate_TE.size(0)));
    if (!settings_.balanced) return gate_TE.sum().div(T);
    const at::Tensor used_E = record.kept.chosen().mask_BLE().flatten(0, 1).sum(0);
    const double even = record.active * T / static_cast<double>(gate_TE.size(1));
    return gate_TE.sum(0).mul(used_E.to(gate_TE.scalar_type()).div(even)).sum().div(T);
  }

  at::Tensor joint_value(const std::vector<const RoutingRecord*>& records) const override {
    at::Tensor total;
    for (const RoutingRecord* record : records) {
      const at::Tensor of_layer = value(*record, {});
      total = total.defined() ? total.add(of_layer) : of_layer;
    }
    return total.div(static_cast<double>(records.size()));
  }

  void complete(const std::vector<const RoutingRecord*>& records, LossTotal& total) const override {
    double kept = 0, wanted = 0, pairs = 0;
    for (const RoutingRecord* record : records) {
      kept += static_cast<double>(record->kept.chosen().count());
      wanted +=
          record->active * static_cast<double>(record->gate_BLE.size(0) * record->gate_BLE.size(1));
      pairs += static_cast<double>(record->gate_BLE.numel());
    }
    const double factor = factor_->value(settings_);
    const auto scalar = [&](double number) { return at::scalar_tensor(number, at::kDouble); };
    total.weight *= factor;
    total.scalars = {{"factor", scalar(factor)},
                     {"sparsity", scalar(pairs > 0 ? 1 - kept / pairs : 0)}};
    total.pending.push_back(factor_->update(settings_, kept, wanted));
  }

 private:
  AdaptiveL1Settings settings_;
  const AdaptiveFactor* factor_;  // a loss of weight 0 is not used, and keeps none
};

const config::RegisterKind<SparseLoss, AdaptiveL1, AdaptiveL1Settings> registered{
    "adaptive_l1",
    "L1 of the gates, times a factor that follows the experts a token; one factor for all layers",
    "ReMoE, arXiv 2412.14711"};

}  // namespace
}  // namespace gallop::sparse
