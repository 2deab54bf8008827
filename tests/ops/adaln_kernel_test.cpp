#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/ops/adaln.h"
#include "tests/ops/operator_test.h"
#include "tests/support/fixture.h"

namespace gallop::testing {
namespace {

GALLOP_TEST_OPERATOR(Adaln, adaln_cases());

// Tokens far from zero: the variance must not be lost in the square of the mean.
TEST(Adaln, KeepsTheVarianceOfShiftedTokens) {
  const at::Tensor x = random("x", {2, 3, 40}).add(1000), m = random("m", {2, 40});
  expect_close(
      ops::adaln_modulate(x, m, m),
      ops::adaln_modulate_reference(x.to(at::kDouble), m.to(at::kDouble), m.to(at::kDouble))
          .to(at::kFloat),
      1e-3, 1e-3, "adaln");
}

TEST(Adaln, TakesAnyLayout) {
  const at::Tensor x = random("x", {2, 5, 4}).transpose(1, 2), m = random("m", {5, 2}).t();
  const at::Tensor want = ops::adaln_modulate(x.contiguous(), m.contiguous(), m.contiguous());
  EXPECT_TRUE(ops::adaln_modulate(x, m, m).equal(want));
  EXPECT_TRUE(ops::adaln_gate(m, x).equal(ops::adaln_gate(m.contiguous(), x.contiguous())));
}

// Each of the two results may be the only one that is used.
TEST(Adaln, WhatIsKeptMayBeUsedAlone) {
  const at::Tensor x = random("x", {2, 3, 8}).set_requires_grad(true), m = random("m", {2, 8});
  ops::adaln_modulate_and_keep(x, m, m).x_BLD.sum().backward();
  EXPECT_TRUE(x.grad().eq(1).all().item<bool>());
  const at::Tensor other = x.detach().clone().set_requires_grad(true);
  ops::adaln_modulate_and_keep(other, m, m).modulated_BLD.square().sum().backward();
  const at::Tensor plain = x.detach().clone().set_requires_grad(true);
  ops::adaln_modulate(plain, m, m).square().sum().backward();
  EXPECT_TRUE(other.grad().equal(plain.grad()));
}

TEST(Adaln, NamesSizesThatDoNotFit) {
  const at::Tensor x = random("x", {2, 3, 4}), m = random("m", {2, 4}), bad = random("m", {3, 4});
  EXPECT_THROW(ops::adaln_modulate(x, bad, m), Error);
  EXPECT_THROW(ops::adaln_modulate(x, m, bad), Error);
  EXPECT_THROW(ops::adaln_gate(bad, x), Error);
  EXPECT_THROW(ops::adaln_add(x, bad, x), Error);
  EXPECT_THROW(ops::adaln_add(random("z", {2, 2, 4}), m, x), Error);
}

}  // namespace
}  // namespace gallop::testing
