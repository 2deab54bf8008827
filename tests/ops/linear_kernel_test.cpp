#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/ops/kernel.h"
#include "gallop/ops/linear.h"
#include "tests/ops/operator_test.h"

namespace gallop::testing {
namespace {

GALLOP_TEST_OPERATOR(Linear, linear_cases());
GALLOP_TEST_OPERATOR(GeluTanh, activation_cases());

TEST(Linear, ARowHasTheSameBitsWhateverTheNumberOfRows) {
  const at::Tensor x = random("x", {300, 150}), weight = random("w", {70, 150}),
                   bias = random("b", {70});
  const at::Tensor all = ops::linear(x, weight, bias), active = ops::linear_gelu(x, weight, bias);
  for (const int64_t rows : {1, 2, 5, 8, 31, 100}) {
    const at::Tensor part = x.narrow(0, 120, rows);
    EXPECT_TRUE(at::equal(ops::linear(part, weight, bias), all.narrow(0, 120, rows))) << rows;
    EXPECT_TRUE(at::equal(ops::linear_gelu(part, weight, bias), active.narrow(0, 120, rows)))
        << rows;
  }
}

TEST(Linear, TakesAnyLayoutAndLeadingSizes) {
  const at::Tensor x = random("x", {5, 12, 4}).transpose(1, 2), weight = random("w", {12, 7}).t();
  const at::Tensor y = ops::linear(x, weight, {});
  EXPECT_EQ(y.sizes(), (std::vector<int64_t>{5, 4, 7}));
  EXPECT_TRUE(at::equal(y, ops::linear(x.contiguous(), weight.contiguous(), {})));
  EXPECT_EQ(ops::linear(x.narrow(0, 0, 0), weight, {}).sizes(), (std::vector<int64_t>{0, 4, 7}));
}

TEST(Linear, RunsTheReferenceUnderAGuard) {
  const at::Tensor x = random("x", {9, 40}).set_requires_grad(true), weight = random("w", {7, 40});
  const ops::ReferenceGuard guard;
  const at::Tensor y = ops::linear_gelu(x, weight, {});
  EXPECT_TRUE(at::equal(y, ops::linear_gelu_reference(x, weight, {})));
}

TEST(Linear, NamesSizesThatDoNotFit) {
  EXPECT_THROW(ops::linear(random("x", {3, 4}), random("w", {2, 5}), {}), Error);
  EXPECT_THROW(ops::linear(random("x", {3, 4}), random("w", {2, 4}), random("b", {3})), Error);
}

}  // namespace
}  // namespace gallop::testing
