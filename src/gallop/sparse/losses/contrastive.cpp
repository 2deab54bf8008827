#include "gallop/sparse/losses/contrastive.h"

#include "gallop/config/registry.h"
#include "gallop/nn/cosine.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {

at::Tensor contrastive(const at::Tensor& prototypes_ED, const at::Tensor& x_TD,
                       const at::Tensor& mask_TE, double temperature) {
  const at::Tensor active_A = mask_TE.any(0).nonzero().squeeze(1);
  if (active_A.size(0) < 2) return prototypes_ED.sum().mul(0);
  const at::Tensor sent_AT = mask_TE.index_select(1, active_A).t().to(x_TD.scalar_type());
  const at::Tensor mean_AD = sent_AT.matmul(x_TD).div(sent_AT.sum(1, /*keepdim=*/true));
  return cosines(prototypes_ED.index_select(0, active_A), mean_AD)
      .div(temperature)
      .log_softmax(1)
      .diagonal()
      .mean()
      .neg();
}

namespace {

struct ContrastiveSettings : config::Fields<ContrastiveSettings> {
  double weight = 0, temperature = 0.07;
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss, 1 in ProMoE", config::at_least(0));
    v.field("temperature", temperature, "of the softmax over the experts' mean tokens",
            config::positive());
  }
};

const config::Register<SparseLoss, ContrastiveSettings> registered{
    "contrastive", "each prototype near the mean of its own tokens, far from the others'",
    "ProMoE, arXiv 2510.24711", [](const ContrastiveSettings& settings, const auto&) {
      return std::make_unique<RecordLoss>(
          "contrastive", settings.weight,
          [temperature = settings.temperature](const RoutingRecord& record) {
            const at::Tensor& prototypes_ED = record.extra("prototypes");
            return contrastive(prototypes_ED, record.x_BLD.flatten(0, 1),
                               record.kept.mask_BLE().flatten(0, 1), temperature);
          },
          std::vector<std::string>{"prototypes"});
    }};

}  // namespace
}  // namespace gallop::sparse
