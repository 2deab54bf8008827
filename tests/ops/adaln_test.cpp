#include "gallop/ops/adaln.h"

#include <gtest/gtest.h>

#include "tests/support/fixture.h"
#include "tests/support/tensors.h"

namespace gallop::ops {
namespace {

using testing::random_normal;
using testing::tensor_of;

// [1, 2, 3, 6] has mean 3 and variance 3.5; the deviations are divided by sqrt(3.5 + eps).
TEST(Adaln, ModulatesTheNormByHand) {
  const at::Tensor x = tensor_of({1, 2, 3, 6}).reshape({1, 1, 4});
  const at::Tensor shift = tensor_of({0, 0, 10, 1}).reshape({1, 4});
  const at::Tensor scale = tensor_of({0, 1, 1, -1}).reshape({1, 4});
  const float d = 1 / std::sqrt(3.5f + 1e-6f);
  testing::expect_close(adaln_modulate(x, shift, scale).reshape({4}),
                        tensor_of({-2 * d, -1 * d * 2, 10, 1}), 1e-6, 1e-6, "modulated");
}

TEST(Adaln, UsesTheModulationOfEachSample) {
  const at::Tensor x = random_normal({2, 3, 8}, "x");
  const at::Tensor shift = random_normal({2, 8}, "shift"), scale = random_normal({2, 8}, "scale");
  const at::Tensor both = adaln_modulate(x, shift, scale);
  for (int64_t b = 0; b < 2; ++b) {
    const at::Tensor alone =
        adaln_modulate(x.narrow(0, b, 1), shift.narrow(0, b, 1), scale.narrow(0, b, 1));
    testing::expect_close(both.narrow(0, b, 1), alone, 0, 1e-6, "sample");
  }
}

}  // namespace
}  // namespace gallop::ops
