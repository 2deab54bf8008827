#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {
namespace {

struct PerLayerSettings : config::Fields<PerLayerSettings> {
  double weight = 0;
  std::string reduction = "sum";
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss, 1e-2 in the paper's public code",
            config::at_least(0));
    v.field("reduction", reduction, "over the layers: their sum, or their mean", {"sum", "mean"});
  }
};

// mean over the elements of a layer of (head - target)^2, then the sum (or mean) over layers; the
// target is the network's own, on the image channels only (Expert Race, section 6).
class PerLayer : public SparseLoss {
 public:
  PerLayer(const PerLayerSettings& settings, const Args& args)
      : weight_(settings.weight),
        factor_(settings.reduction == "mean" ? 1.0 / static_cast<double>(args.layers) : 1.0) {}
  std::string kind() const override { return "per_layer"; }
  double weight() const override { return weight_; }
  bool needs_head() const override { return true; }
  // A head predicts the target of every token.
  std::vector<nn::Given> needs_given() const override {
    return {nn::Given::target, nn::Given::all_tokens};
  }
  at::Tensor value(const RoutingRecord& record, const at::Tensor& target_BLH) const override {
    require(record.head_BLH.defined(), record.layer, ": the router made no per-layer prediction");
    require(target_BLH.defined(), record.layer, ": the per-layer loss needs the training target");
    require(record.head_BLH.sizes() == target_BLH.sizes(), record.layer,
            ": the per-layer prediction is of ", record.head_BLH.sizes(), " and the target of ",
            target_BLH.sizes(),
            "; a layer that sees some of the tokens only can not have this loss");
    return record.head_BLH.sub(target_BLH).square().mean().mul(factor_);
  }

 private:
  double weight_, factor_;
};

const config::RegisterKind<SparseLoss, PerLayer, PerLayerSettings> registered{
    "per_layer", "a head in every router predicts the training target",
    "Expert Race, arXiv 2503.16057"};

}  // namespace
}  // namespace gallop::sparse
