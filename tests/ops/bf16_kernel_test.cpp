#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "gallop/base/error.h"
#include "gallop/ops/bf16_product.h"
#include "gallop/ops/cpu/gemm.h"
#include "gallop/ops/kernel.h"
#include "gallop/ops/linear.h"
#include "gallop/ops/precision.h"
#include "tests/ops/operator_test.h"

namespace gallop::testing {
namespace {

using ops::EmulatedBf16Guard;
using ops::Precision;
using ops::PrecisionGuard;

struct InBf16 {
  EmulatedBf16Guard emulated;
  PrecisionGuard precision{Precision::bf16};
};

at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kFloat); }

// The sum of the emulated tile: pairs in order, of each the second product first.
float dot(int64_t K, const auto& x, const auto& y) {
  float sum = 0;
  for (int64_t k = 0; k < K; k += 2) {
    if (k + 1 < K) sum = std::fma(x(k + 1), y(k + 1), sum);
    sum = std::fma(x(k), y(k), sum);
  }
  return sum;
}

std::vector<const float*> rows_of(const at::Tensor& x) {
  return ops::row_pointers(x.const_data_ptr<float>(), x.size(1), 0, x.size(0));
}

// M rows, K in, N out: with odd ones, less than a tile, more than the depth of a panel (640).
class Bf16Product : public ::testing::TestWithParam<std::tuple<int, int, int>> {};
INSTANTIATE_TEST_SUITE_P(All, Bf16Product,
                         ::testing::Values(std::tuple{1, 1, 1}, std::tuple{5, 2, 16},
                                           std::tuple{3, 7, 9}, std::tuple{13, 64, 33},
                                           std::tuple{4, 641, 17}, std::tuple{2, 1290, 40},
                                           std::tuple{401, 5, 3}, std::tuple{770, 19, 35}));

TEST_P(Bf16Product, SumsPairsInTheirOrder) {
  const auto [M, K, N] = GetParam();
  const at::Tensor x = random("x", {M, K}), b = random("b", {K, N});
  const at::Tensor x_hat = rounded(x), b_hat = rounded(b), bt = b.t().contiguous();
  const float *p = x_hat.const_data_ptr<float>(), *q = b_hat.const_data_ptr<float>();
  for (const bool transposed : {false, true}) {
    ops::Panels panels(K, N, &ops::emulated_bf16_tile());
    for (int64_t i = 0; i < panels.count(); ++i) {
      if (transposed) {
        panels.fill_transposed(i, bt.const_data_ptr<float>(), K);
      } else {
        panels.fill(i, b.const_data_ptr<float>(), N);
      }
    }
    const at::Tensor c = random("c", {M, N + 3}), before = c.clone();
    const auto rows = rows_of(x);
    ops::multiply({rows.data(), M}, panels, 0, panels.count(), c.mutable_data_ptr<float>(), N + 3);
    for (int64_t m = 0; m < M; ++m) {
      for (int64_t n = 0; n < N; ++n) {
        ASSERT_EQ(c[m][n].item<float>(), dot(
                                             K, [&](int64_t k) { return p[m * K + k]; },
                                             [&](int64_t k) { return q[k * N + n]; }))
            << m << ", " << n << (transposed ? ", transposed" : "");
      }
    }
    EXPECT_TRUE(at::equal(c.narrow(1, N, 3), before.narrow(1, N, 3)));
  }
}

TEST_P(Bf16Product, SumsPairsOfRowsForAWeight) {
  const auto [R, N, K] = GetParam();
  const at::Tensor a = random("a", {R, N}), b = random("b", {R, K});
  const at::Tensor a_hat = rounded(a), b_hat = rounded(b);
  const float *p = a_hat.const_data_ptr<float>(), *q = b_hat.const_data_ptr<float>();
  const at::Tensor c = random("c", {N, K});
  ops::multiply_transposed(rows_of(a).data(), N, rows_of(b).data(), K, R,
                           c.mutable_data_ptr<float>(), K, &ops::emulated_bf16_tile());
  for (int64_t n = 0; n < N; n += N > 100 ? 7 : 1) {
    for (int64_t k = 0; k < K; ++k) {
      ASSERT_EQ(c[n][k].item<float>(), dot(
                                           R, [&, n = n](int64_t r) { return p[r * N + n]; },
                                           [&, k = k](int64_t r) { return q[r * K + k]; }))
          << n << ", " << k;
    }
  }
}

// Through a product with 1, which keeps every number of bf16.
std::vector<float> through_a_product(const std::vector<float>& x) {
  const auto count = static_cast<int64_t>(x.size());
  const float one = 1;
  ops::Panels panels(1, 1, &ops::emulated_bf16_tile());
  panels.fill(0, &one, 1);
  std::vector<float> y(x.size());
  ops::multiply({ops::row_pointers(x.data(), 1, 0, count).data(), count}, panels, 0, 1, y.data(),
                1);
  return y;
}

TEST(Bf16Rounding, IsThatOfATen) {
  std::vector<float> x{0.0F,        1.0F,     -1.0F,    3.3e38F, 3.4028234e38F, -3.4028234e38F,
                       1.00390625F,  // ties: to the even neighbour below and above
                       1.01171875F, INFINITY, -INFINITY};
  for (uint32_t i = 0; i < 4096; ++i) x.push_back(std::bit_cast<float>(0x00800000U + i * 520'011U));
  const std::vector<float> y = through_a_product(x);
  const at::Tensor want = rounded(at::tensor(x));
  for (size_t i = 0; i < x.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    if (std::isnan(x[i])) {
      EXPECT_TRUE(std::isnan(y[i])) << std::bit_cast<uint32_t>(x[i]);
    } else {
      EXPECT_EQ(y[i], want[at].item<float>()) << x[i];
    }
  }
}

TEST(Bf16Rounding, KeepsEveryNaN) {
  std::vector<float> x;
  for (const uint32_t bits : {0x7F800001U, 0x7F80FFFFU, 0x7FC00000U, 0x7FFFFFFFU, 0xFF800001U,
                              0xFFFFFFFFU, 0x7FFF8000U}) {
    x.push_back(std::bit_cast<float>(bits));
  }
  for (const float y : through_a_product(x)) EXPECT_TRUE(std::isnan(y));
}

// Root of the mean square of the difference, relative to that of `want`: a rounding that falls the
// other way because of the last bit of a GELU is one number of many.
double distance(const at::Tensor& got, const at::Tensor& want) {
  const double size = want.to(at::kDouble).norm().item<double>();
  return got.to(at::kDouble).sub(want.to(at::kDouble)).norm().item<double>() / (size + 1e-30);
}

Tensors leaves(const Tensors& inputs) {
  Tensors result;
  for (const at::Tensor& input : inputs) result.push_back(input.clone().set_requires_grad(true));
  return result;
}

std::vector<OperatorCase> product_cases() {
  std::vector<OperatorCase> cases = linear_cases();
  for (const OperatorCase& c : grouped_mlp_cases()) cases.push_back(c);
  return cases;
}

class Bf16Operator : public OperatorTest {};
INSTANTIATE_TEST_SUITE_P(All, Bf16Operator, ::testing::ValuesIn(product_cases()), test_name);

TEST_P(Bf16Operator, IsItsReference) {
  const OperatorCase& c = GetParam();
  const InBf16 guard;
  const Tensors got = forward_backward(c.op, leaves(c.inputs));
  const Tensors want = forward_backward(c.reference, leaves(c.inputs));
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_LT(distance(got[i], want[i]), 2e-4) << c << ", result " << i;
  }
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(at::equal(c.op(c.inputs), got[0])) << "differs without a graph";
}

// That the comparison above can tell: all but the gradients that are no products are rounded.
TEST_P(Bf16Operator, DiffersFromFloat32AsMuchAsItShould) {
  const OperatorCase& c = GetParam();
  if (c.flops < 1e4) return;
  const Tensors exact = forward_backward(c.op, leaves(c.inputs));
  const InBf16 guard;
  const Tensors got = forward_backward(c.op, leaves(c.inputs));
  for (const size_t i : {0, 1, 2}) {
    EXPECT_GT(distance(got[i], exact[i]), 7e-4) << c << ", result " << i;
    EXPECT_LT(distance(got[i], exact[i]), 1e-2) << c << ", result " << i;
  }
}

TEST_P(Bf16Operator, Threads) {
  const InBf16 guard;
  expect_same_bits_for_all_threads(GetParam());
}

TEST_P(Bf16Operator, TheReferenceRunsUnderItsGuard) {
  const OperatorCase& c = GetParam();
  const PrecisionGuard precision(Precision::bf16);  // and on every processor
  const ops::ReferenceGuard guard;
  EXPECT_TRUE(at::equal(c.op(c.inputs), c.reference(c.inputs)));
}

TEST_P(Bf16Operator, AGradientMayHaveAGraph) {
  const InBf16 guard;
  const Tensors inputs = leaves(GetParam().inputs);
  const at::Tensor y = GetParam().op(inputs);
  y.backward(random("cotangent", y.sizes()), /*retain_graph=*/true, /*create_graph=*/true);
  const at::Tensor gradient = inputs[0].grad();
  ASSERT_TRUE(gradient.requires_grad());
  inputs[1].mutable_grad() = at::Tensor();
  gradient.square().sum().backward();
  EXPECT_TRUE(inputs[1].grad().isfinite().all().item<bool>());
  EXPECT_GT(inputs[1].grad().abs().sum().item<double>(), 0);
}

TEST(Bf16Linear, ARowHasTheSameBitsWhateverTheNumberOfRows) {
  const InBf16 guard;
  const at::Tensor x = random("x", {300, 151}), weight = random("w", {70, 151}),
                   bias = random("b", {70});
  const at::Tensor all = ops::linear_gelu(x, weight, bias);
  for (const int64_t rows : {1, 2, 5, 8, 31, 100}) {
    const at::Tensor part = x.narrow(0, 120, rows);
    EXPECT_TRUE(at::equal(ops::linear_gelu(part, weight, bias), all.narrow(0, 120, rows))) << rows;
  }
}

// The gradient is taken after the guards of the forward are gone, and the other way round.
TEST(Bf16Linear, AGradientHasThePrecisionOfItsForward) {
  const at::Tensor x = random("x", {40, 24}), weight = random("w", {16, 24});
  const at::Tensor dy = random("cotangent", {40, 16});
  const auto gradient = [&](bool forward_bf16, bool backward_bf16) {
    const Tensors in = leaves({x, weight});
    at::Tensor y;
    {
      const EmulatedBf16Guard emulated;
      const PrecisionGuard guard(forward_bf16 ? Precision::bf16 : Precision::float32);
      y = ops::linear(in[0], in[1], {});
    }
    const PrecisionGuard guard(backward_bf16 ? Precision::bf16 : Precision::float32);
    y.backward(dy);
    return in[1].grad();
  };
  EXPECT_TRUE(at::equal(gradient(true, false), gradient(true, true)));
  EXPECT_TRUE(at::equal(gradient(false, false), gradient(false, true)));
  EXPECT_LT(distance(gradient(true, false), rounded(dy).t().matmul(rounded(x))), 1e-6);
  EXPECT_LT(distance(gradient(false, true), dy.t().matmul(x)), 1e-6);
}

TEST(Bf16Linear, NestedGuardsPutBackWhatWas) {
  const PrecisionGuard outer(Precision::bf16);
  {
    const PrecisionGuard inner(Precision::float32);
    EXPECT_EQ(ops::product_tile(), nullptr);
  }
  EXPECT_EQ(PrecisionGuard::active(), Precision::bf16);
}

TEST(Bf16Linear, SaysWhatIsMissing) {
  if (ops::native_bf16_tile() != nullptr) GTEST_SKIP() << "this CPU has avx512_bf16";
  const PrecisionGuard guard(Precision::bf16);
  try {
    ops::linear(random("x", {3, 4}), random("w", {2, 4}), {});
    ADD_FAILURE() << "ran";
  } catch (const Error& error) {
    const std::string text = error.what();
    for (const char* part : {"avx512_bf16", "Zen 4", "Sapphire Rapids", "float32"}) {
      EXPECT_NE(text.find(part), std::string::npos) << text;
    }
  }
}

// Where there is the instruction: it sums as the emulation does, but for the last digits.
TEST(Bf16Linear, TheInstructionGivesWhatTheEmulationGives) {
  if (ops::native_bf16_tile() == nullptr) GTEST_SKIP() << "this CPU has no avx512_bf16";
  const PrecisionGuard guard(Precision::bf16);
  for (const OperatorCase& c : product_cases()) {
    const Tensors got = forward_backward(c.op, leaves(c.inputs));
    expect_same_bits_for_all_threads(c);
    const EmulatedBf16Guard emulated;
    const Tensors want = forward_backward(c.op, leaves(c.inputs));
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_LT(distance(got[i], want[i]), 2e-4) << c << ", result " << i;
    }
  }
}

}  // namespace
}  // namespace gallop::testing
