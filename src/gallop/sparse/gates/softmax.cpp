#include "gallop/config/registry.h"
#include "gallop/sparse/choice/gate.h"

namespace gallop::sparse {
namespace {

// Softmax removes any offset of a token, so scores of different tokens lose their common scale:
// selection is on the gated scores.
class SoftmaxGate : public Gate {
 public:
  Scores scores(const GateInput& in) const override {
    const at::Tensor gate_BLE = in.logits_BLE.softmax(-1);
    return {in.logits_BLE, gate_BLE, gate_BLE};
  }
};

const config::RegisterKind<Gate, SoftmaxGate> registered{
    "softmax", "weight = softmax over the experts of a token", "Shazeer et al., arXiv 1701.06538"};

}  // namespace
}  // namespace gallop::sparse
