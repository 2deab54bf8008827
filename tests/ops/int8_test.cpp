#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>
#include <ostream>

#include "gallop/base/error.h"
#include "gallop/ops/inference/int8.h"
#include "gallop/ops/kernel.h"
#include "gallop/ops/linear.h"
#include "tests/ops/operator_case.h"
#include "tests/support/fixture.h"
#include "tests/support/threads.h"

namespace gallop::ops {
// Found by Google Test, which would print bytes otherwise.
void PrintTo(const Int8Tile& tile, std::ostream* out) { *out << tile.name; }
}  // namespace gallop::ops

namespace gallop::testing {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

// Whole numbers -127..127, at least one of each row at the limit: their scale is 1.
at::Tensor whole_numbers(const std::string& name, int64_t rows, int64_t width) {
  at::Tensor x = random(name, {rows, width}, 60).round().clamp(-127, 127);
  x.select(1, width / 2).fill_(-127);
  return x;
}

at::Tensor linear_int8(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       bool gelu, const ops::Int8Tile& tile = ops::int8_tile()) {
  const ops::Int8Weights weights({weight}, tile);
  const ops::Int8Guard guard(weights);
  return (gelu ? ops::linear_gelu : ops::linear)(x, weight, bias);
}

double largest(const at::Tensor& x) { return x.numel() == 0 ? 0 : x.abs().max().item<double>(); }

double relative_rms(const at::Tensor& got, const at::Tensor& want) {
  return got.sub(want).square().mean().sqrt().item<double>() /
         want.square().mean().sqrt().item<double>();
}

class Int8Tiles : public ::testing::TestWithParam<ops::Int8Tile> {};

TEST_P(Int8Tiles, SumsAreExact) {
  for (int64_t K = 1; K <= 70; ++K) {
    const int64_t M = 1 + K % 23, N = 1 + (K * 7) % 45;
    const at::Tensor x = whole_numbers("x" + std::to_string(K), M, K),
                     weight = whole_numbers("w" + std::to_string(K), N, K);
    const at::Tensor want = x.to(at::kDouble).matmul(weight.to(at::kDouble).t()).to(at::kFloat);
    EXPECT_TRUE(at::equal(linear_int8(x, weight, {}, false, GetParam()), want)) << K;
  }
}

// At the limits of all numbers, where sums of 16 bits would overflow.
TEST_P(Int8Tiles, SumsOfExtremesAreExact) {
  for (const float sign : {-1.0F, 1.0F}) {
    const at::Tensor x = at::zeros({7, 300}).fill_(127), weight = at::zeros({19, 300}).fill_(127);
    const at::Tensor y = linear_int8(x, weight.mul(sign), {}, false, GetParam());
    EXPECT_TRUE(at::equal(y, at::zeros({7, 19}).fill_(sign * 127 * 127 * 300)));
  }
}

TEST_P(Int8Tiles, AllGiveTheSameBits) {
  const at::Tensor x = random("x", {203, 131}), weight = random("w", {67, 131}, 0.1),
                   bias = random("b", {67});
  for (const bool gelu : {false, true}) {
    EXPECT_TRUE(at::equal(linear_int8(x, weight, bias, gelu, GetParam()),
                          linear_int8(x, weight, bias, gelu)));
  }
}

std::string tile_name(const ::testing::TestParamInfo<ops::Int8Tile>& info) {
  std::string name;
  for (const char c : info.param.name) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
  }
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, Int8Tiles, ::testing::ValuesIn(ops::int8_tiles()), tile_name);

TEST(Int8, LinearIsItsReference) {
  for (const bool gelu : {false, true}) {
    for (const auto& [M, K, N] : {std::tuple{1, 1, 1}, {5, 8, 16}, {97, 45, 33}, {2000, 65, 130}}) {
      const at::Tensor x = random("x", {M, K}), weight = random("w", {N, K}, 0.1),
                       bias = random("b", {N});
      const at::Tensor want = ops::linear_int8_reference(x, weight, bias, gelu);
      expect_close(linear_int8(x, weight, bias, gelu), want, 2e-6, 1e-6 * largest(want), "bias");
      const at::Tensor without = ops::linear_int8_reference(x, weight, {}, gelu);
      expect_close(linear_int8(x, weight, {}, gelu), without, 2e-6, 1e-6 * largest(without), "no");
    }
  }
}

// Random numbers of 8 bits have an error of about 1 % of the result.
TEST(Int8, LinearIsNearTheFloatOne) {
  const at::Tensor x = random("x", {300, 512}), weight = random("w", {130, 512}, 0.05);
  const double error = relative_rms(linear_int8(x, weight, {}, false), ops::linear(x, weight, {}));
  EXPECT_LT(error, 0.02);
  EXPECT_GT(error, 0.001) << "was it in 8 bits at all?";
}

TEST(Int8, ARowHasTheSameBitsWhateverTheRowsAndThreads) {
  const at::Tensor x = random("x", {1700, 150}), weight = random("w", {270, 150}),
                   bias = random("b", {270});
  const at::Tensor all = linear_int8(x, weight, bias, true);
  for (const int threads : {1, 2, 3}) {
    const Threads use(threads);
    EXPECT_TRUE(at::equal(linear_int8(x, weight, bias, true), all)) << threads;
    for (const int64_t rows : {1, 2, 8, 31, 500}) {
      const at::Tensor part = linear_int8(x.narrow(0, 120, rows), weight, bias, true);
      EXPECT_TRUE(at::equal(part, all.narrow(0, 120, rows))) << rows;
    }
  }
}

TEST(Int8, TakesRowsOfAnySize) {
  const at::Tensor weight = random("w", {12, 40}), bias = random("b", {12});
  at::Tensor x = random("x", {6, 40});
  x[0].fill_(0);
  x[1].mul_(1e37);
  x[2].mul_(1e-30);
  x[3].mul_(1e-40);  // counts as zero
  const at::Tensor y = linear_int8(x, weight, bias, false);
  EXPECT_TRUE(at::equal(y[0], bias));
  EXPECT_TRUE(at::equal(y[3], bias));
  EXPECT_LT(relative_rms(linear_int8(x, weight, {}, false)[1].mul(1e-37),
                         ops::linear(x, weight, {})[1].mul(1e-37)),
            0.05);
  EXPECT_LT(relative_rms(linear_int8(x, weight, {}, false)[2].mul(1e30),
                         ops::linear(x, weight, {})[2].mul(1e30)),
            0.05);
  EXPECT_EQ(linear_int8(x.narrow(0, 0, 0), weight, bias, false).sizes(),
            (std::vector<int64_t>{0, 12}));
  const at::Tensor of_zeros = linear_int8(x, at::zeros({12, 40}), bias, false);
  EXPECT_TRUE(at::equal(of_zeros, bias.expand({6, 12})));
}

// What is not a number spoils its own row, or the output of its own weights.
TEST(Int8, NonFiniteRowsGiveNaN) {
  for (const float bad : {nan_value, infinity, -infinity}) {
    for (const ops::Int8Tile& tile : ops::int8_tiles()) {
      for (const bool gelu : {false, true}) {
        at::Tensor x = random("x", {9, 21}), weight = random("w", {12, 21}),
                   bias = random("b", {12});
        const at::Tensor clean = linear_int8(x, weight, bias, gelu, tile);
        x[4][20] = bad;
        const at::Tensor y = linear_int8(x, weight, bias, gelu, tile);
        EXPECT_TRUE(y[4].isnan().all().item<bool>());
        EXPECT_TRUE(at::equal(y.narrow(0, 5, 4), clean.narrow(0, 5, 4)));
        weight[3][0] = bad;
        const at::Tensor spoilt = linear_int8(x, weight, bias, gelu, tile);
        EXPECT_TRUE(spoilt.select(1, 3).isnan().all().item<bool>());
        EXPECT_TRUE(at::equal(spoilt[0][2], clean[0][2]));
      }
    }
  }
}

TEST(Int8, GuardCoversItsWeightsOnThisThreadAlone) {
  const at::Tensor x = random("x", {9, 80}), weight = random("w", {7, 80}),
                   other = random("other", {7, 80}), group = random("group", {3, 7, 80});
  const at::Tensor plain = ops::linear(x, weight, {});
  const ops::Int8Weights weights({weight, group});
  EXPECT_EQ(weights.numel(), 7 * 80 * 4);
  EXPECT_GE(weights.bytes(), 7 * 80 * 4);
  EXPECT_EQ(weights.numel_used(), 0);
  EXPECT_TRUE(at::equal(ops::linear(x, weight, {}), plain));
  {
    const ops::Int8Guard guard(weights);
    const at::Tensor y = ops::linear(x, weight, {});
    EXPECT_FALSE(at::equal(y, plain));
    EXPECT_EQ(weights.numel_used(), 7 * 80);
    const at::Tensor as_before = ops::linear(x, other, {});
    EXPECT_LT(relative_rms(as_before, x.matmul(other.t())), 1e-5);
    // A member of a group, but no other part of it.
    const at::Tensor member = ops::linear(x, group[1], {});
    EXPECT_TRUE(at::equal(member, linear_int8(x, group[1].clone(), {}, false)));
    EXPECT_EQ(weights.numel_used(), weights.numel());
    EXPECT_LT(relative_rms(ops::linear(x, group[1].narrow(0, 0, 5), {}),
                           x.matmul(group[1].narrow(0, 0, 5).t())),
              1e-5);
    // What has a graph stays in float32.
    const at::Tensor needs_grad = x.clone().set_requires_grad(true);
    EXPECT_TRUE(at::equal(ops::linear(needs_grad, weight, {}), plain));
    {
      const at::NoGradGuard no_grad;
      EXPECT_TRUE(at::equal(ops::linear(needs_grad, weight, {}), y));
    }
    const ops::ReferenceGuard reference;
    EXPECT_TRUE(at::equal(ops::linear(x, weight, {}), ops::linear_reference(x, weight, {})));
  }
  EXPECT_TRUE(at::equal(ops::linear(x, weight, {}), plain));
}

TEST(Int8, RefusesWhatItCannotDo) {
  EXPECT_THROW(ops::Int8Weights({random("w", {3, 4}).to(at::kDouble)}), Error);
  EXPECT_THROW(ops::Int8Weights({random("w", {3, 4}).t()}), Error);
  EXPECT_THROW(ops::Int8Weights({random("w", {3})}), Error);
  EXPECT_THROW(ops::Int8Weights({at::zeros({1, ops::most_int8_K + 1})}), Error);
  const at::Tensor weight = random("w", {3, 4}), x = random("x", {2, 4});
  const ops::Int8Weights weights({weight});
  const ops::Int8Guard guard(weights);
  EXPECT_THROW(ops::linear(random("x", {2, 5}), weight, {}), Error);
  EXPECT_NO_THROW(ops::linear(x, weight, {}));
  weight.mul_(2);
  EXPECT_THROW(ops::linear(x, weight, {}), Error) << "changed after it was brought to 8 bits";
}

struct Grouped {
  at::Tensor x, offsets, tokens, gate;
  ops::GroupedMlpWeights mlp;

  // Expert 0 has 150 tokens, 1 none, 2 three.
  static Grouped example(int64_t D, int64_t H) {
    std::vector<int64_t> tokens(150);
    for (int64_t i = 0; i < 150; ++i) tokens[i] = i;
    tokens.insert(tokens.end(), {0, 7, 160});
    return {random("x", {170, D}),
            at::tensor({0, 150, 150, 153}, at::kLong),
            at::tensor(tokens),
            random("gate", {153}),
            {random("w1", {3, H, D}, 0.1), random("b1", {3, H}, 0.1), random("w2", {3, D, H}, 0.1),
             random("b2", {3, D}, 0.1)}};
  }
  at::Tensor run(const ops::Int8Tile& tile = ops::int8_tile()) const {
    const ops::Int8Weights weights({mlp.w1_EHD, mlp.w2_EDH}, tile);
    const ops::Int8Guard guard(weights);
    const at::Tensor y = ops::grouped_mlp(x, offsets, tokens, gate, mlp);
    EXPECT_EQ(weights.numel_used(), weights.numel());
    return y;
  }
};

TEST(Int8, GroupedMlpIsItsReferenceAndNearTheFloatOne) {
  for (const auto& [D, H] : {std::pair{5, 11}, {37, 51}, {64, 96}}) {
    const Grouped c = Grouped::example(D, H);
    const at::Tensor y = c.run();
    const at::Tensor want =
        ops::grouped_mlp_int8_reference(c.x, c.offsets, c.tokens, c.gate, c.mlp);
    // A hidden number at a tie may round the other way, which moves a few results by one step.
    EXPECT_LT(relative_rms(y, want), 1e-3);
    EXPECT_GT(y.sub(want).abs().lt(1e-5 * largest(want)).to(at::kDouble).mean().item<double>(),
              0.9);
    const at::Tensor exact = ops::grouped_mlp(c.x, c.offsets, c.tokens, c.gate, c.mlp);
    EXPECT_LT(relative_rms(y, exact), 0.03);
    EXPECT_FALSE(y[169].any().item<bool>()) << "a token without an expert";
  }
}

TEST(Int8, GroupedMlpHasTheSameBitsForAllTilesAndThreads) {
  const Grouped c = Grouped::example(37, 51);
  const at::Tensor y = c.run();
  for (const ops::Int8Tile& tile : ops::int8_tiles()) {
    EXPECT_TRUE(at::equal(c.run(tile), y)) << tile.name;
  }
  for (const int threads : {1, 2, 3}) {
    const Threads use(threads);
    EXPECT_TRUE(at::equal(c.run(), y)) << threads;
  }
  // Token 7 alone, with expert 2.
  const ops::Int8Weights weights({c.mlp.w1_EHD, c.mlp.w2_EDH});
  const ops::Int8Guard guard(weights);
  const at::Tensor alone =
      ops::grouped_mlp(c.x, at::tensor({0, 1, 1, 2}, at::kLong), at::tensor({7, 7}, at::kLong),
                       at::tensor({c.gate[7].item<float>(), c.gate[151].item<float>()}), c.mlp);
  EXPECT_TRUE(at::equal(alone[7], y[7]));
}

TEST(Int8, GroupedMlpNeedsBothWeightsAndKeepsNaNInItsRow) {
  Grouped c = Grouped::example(37, 51);
  const at::Tensor exact = ops::grouped_mlp(c.x, c.offsets, c.tokens, c.gate, c.mlp);
  {
    const ops::Int8Weights one({c.mlp.w1_EHD});
    const ops::Int8Guard guard(one);
    EXPECT_TRUE(at::equal(ops::grouped_mlp(c.x, c.offsets, c.tokens, c.gate, c.mlp), exact));
    EXPECT_EQ(one.numel_used(), 0);
  }
  const at::Tensor clean = c.run();
  c.x[3][5] = nan_value;
  const at::Tensor y = c.run();
  EXPECT_TRUE(y[3].isnan().all().item<bool>());
  EXPECT_TRUE(at::equal(y.narrow(0, 4, 166), clean.narrow(0, 4, 166)));
}

}  // namespace
}  // namespace gallop::testing
