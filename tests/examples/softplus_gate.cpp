#include <ATen/ops/softplus.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/gate.h"

namespace gallop::sparse {
namespace {

struct SoftplusSettings : config::Fields<SoftplusSettings> {
  double sharpness = 1;
  void fields(config::Visitor& v) override {
    v.field("sharpness", sharpness, "how fast the weight turns linear", config::positive());
  }
};

// Never negative, and linear for large logits.
class SoftplusGate : public Gate {
 public:
  explicit SoftplusGate(const SoftplusSettings& settings) : sharpness_(settings.sharpness) {}
  Scores scores(const GateInput& in) const override {
    return {.logits_BLE = in.logits_BLE,
            .gate_BLE = at::softplus(in.logits_BLE, sharpness_),
            .key_BLE = in.logits_BLE};  // the same order, and never saturated
  }

 private:
  double sharpness_;
};

const config::RegisterKind<Gate, SoftplusGate, SoftplusSettings> registered{
    "softplus", "weight = log(1 + exp(logit))", "an example"};

}  // namespace
}  // namespace gallop::sparse
