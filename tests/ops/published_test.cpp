// Functions of published models against reference cases; gradients and kernels have tests of their
// own beside this one.
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "gallop/ops/activation.h"
#include "gallop/ops/adaln.h"
#include "tests/support/fixture.h"

namespace gallop::ops {
namespace {

using testing::Fixture;

// y = f(x) and its gradient.
template <class F>
void check(const Fixture& fixture, F f) {
  const at::Tensor x = fixture.in("x").clone().set_requires_grad(true);
  const at::Tensor y = f(x);
  fixture.expect_close(y, "out.y");
  const at::Tensor loss = y.mul(fixture.in("cotangent")).sum();
  fixture.expect_close(loss, "out.loss");
  loss.backward();
  fixture.expect_close(x.grad(), "grad.x");
  fixture.expect_all_checked();
}

REFERENCE_TEST(GeluTanhCases, MatchTheReference, "activation/gelu_tanh") {
  check(fixture, [](const at::Tensor& x) { return gelu_tanh(x); });
}

REFERENCE_TEST(LayerNormCases, MatchTheReference, "norm/layernorm_no_affine") {
  const double eps = fixture.config().at("eps").as_double();
  check(fixture, [&](const at::Tensor& x_BLD) {
    const at::Tensor none_BD = at::zeros({x_BLD.size(0), x_BLD.size(2)});
    return adaln_modulate(x_BLD, none_BD, none_BD, eps);
  });
}

}  // namespace
}  // namespace gallop::ops
