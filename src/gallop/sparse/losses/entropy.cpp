#include "gallop/sparse/choice/entropy.h"
#include "gallop/config/registry.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {
namespace {

struct EntropySettings : config::Fields<EntropySettings> {
  double weight = 0, q = 1, eps = entropy_eps;
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss, 1e-2 in DynMoLE", config::at_least(0));
    v.field("q", q, "1: Shannon's entropy; above 1: that of Tsallis, 1.1 in DynMoLE",
            config::at_least(1));
    v.field("eps", eps, "added to each probability", config::between(0, 1));
  }
};

const config::Register<SparseLoss, EntropySettings> registered{
    "entropy",
    "mean entropy of the tokens' probabilities, a share of its maximum: confident routing",
    "DynMoLE, arXiv 2504.00661", [](const EntropySettings& settings, const auto&) {
      return std::make_unique<RecordLoss>(
          "entropy", settings.weight, [settings](const RoutingRecord& record) {
            return normalised_entropy(record.logits_BLE, settings.q, settings.eps).mean();
          });
    }};

}  // namespace
}  // namespace gallop::sparse
