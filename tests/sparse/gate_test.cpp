#include "gallop/sparse/choice/gate.h"

#include <gtest/gtest.h>

#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using testing::tensor_of;

Scores scores_of(const std::string& gate, const at::Tensor& logits) {
  return testing::make<Gate>("kind = \"" + gate + "\"", {})->scores({logits});
}

REFERENCE_TEST(GateCases, MatchTheReference, "routing/gates") {
  for (const std::string& gate : fixture.names_with_prefix("out.")) {
    const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
    const at::Tensor weights = scores_of(gate, logits).gate_BLE;
    fixture.expect_close(weights, "out." + gate);
    weights.mul(fixture.in("cotangent")).sum().backward();
    fixture.expect_close(logits.grad(), "grad." + gate + ".logits");
  }
  fixture.expect_all_checked();
}

// Sigmoid rounds both to 1; the order must not be lost.
TEST(Gate, MonotoneGatesOrderByTheLogits) {
  const at::Tensor logits = tensor_of({100, 200}).reshape({1, 1, 2});
  for (const char* gate : {"identity", "sigmoid"}) {
    EXPECT_TRUE(scores_of(gate, logits).key_BLE.equal(logits)) << gate;
  }
  const Scores softmax = scores_of("softmax", logits);
  EXPECT_TRUE(softmax.key_BLE.equal(softmax.gate_BLE));
}

}  // namespace
}  // namespace gallop::sparse
