#include "gallop/config/registry.h"
#include "gallop/sparse/choice/target_head.h"

namespace gallop::sparse {
namespace {

struct CentroidSettings : config::Fields<CentroidSettings> {
  std::string rule = "nearest";
  void fields(config::Visitor& v) override {
    v.field("rule", rule, "best experts: those nearest, or (the released Moirai-MoE) farthest",
            {"nearest", "farthest"});
  }
};

// logits = minus the distance to each expert's centroid, or the distance itself. The centroids are
// those of clusters of a trained model's tokens, and stay.
class CentroidRouter : public Router {
 public:
  CentroidRouter(const CentroidSettings& settings, const Args& args)
      : Router(*args.parent, "router"),
        nearest_(settings.rule == "nearest"),
        centroids_(*this, "centroids", {args.experts, args.D}, nn::Init::normal(1),
                   {.decay = false, .frozen = true}),
        head_(*this, args) {}

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    const at::Tensor apart_BLED = x_BLD.unsqueeze(-2).sub(*centroids_);
    const at::Tensor distance_BLE = apart_BLED.norm(2, {-1}, /*keepdim=*/false);
    return {.logits_BLE = nearest_ ? distance_BLE.neg() : distance_BLE,
            .head_BLH = head_.forward(x_BLD, ctx)};
  }

  // The distance of each token from each centroid in every direction.
  nn::Activations activations(double tokens) const override {
    const double numbers = tokens * static_cast<double>(centroids_.numel());
    return {.kept = numbers, .passing = 2 * numbers};
  }

 private:
  bool nearest_;
  nn::Parameter centroids_;
  TargetHead head_;
};

const config::RegisterKind<Router, CentroidRouter, CentroidSettings> registered{
    "centroid", "distance to frozen centroids of a trained model's tokens",
    "Moirai-MoE, arXiv 2410.10469"};

}  // namespace
}  // namespace gallop::sparse
