#include "gallop/ops/attention.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "gallop/ops/self_attention.h"
#include "tests/ops/operator_test.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"

namespace gallop::ops {
namespace {

using ::testing::HasSubstr;
using testing::random;

GALLOP_TEST_OPERATOR(Attention, testing::attention_cases());

struct Inputs {
  at::Tensor q, k, v;
};
Inputs inputs(int64_t B, int64_t Q, int64_t K, int64_t N, int64_t M, int64_t d) {
  return {random("q", {B, Q, N, d}), random("k", {B, K, M, d}), random("v", {B, K, M, d})};
}

// The definition, number by number in float64: `sees(b, i, j)` says whether query i sees key j.
at::Tensor by_hand(const Inputs& in, double scale,
                   const std::function<bool(int64_t b, int64_t i, int64_t j)>& sees) {
  const at::Tensor q64 = in.q.to(at::kDouble), k64 = in.k.to(at::kDouble),
                   v64 = in.v.to(at::kDouble);
  at::Tensor y64 = at::zeros(in.q.sizes(), q64.options());
  const auto q = q64.accessor<double, 4>(), k = k64.accessor<double, 4>(),
             v = v64.accessor<double, 4>();
  auto y = y64.accessor<double, 4>();
  const int64_t share = in.q.size(2) / in.k.size(2), d = in.q.size(3);
  for (int64_t b = 0; b < in.q.size(0); ++b) {
    for (int64_t i = 0; i < in.q.size(1); ++i) {
      for (int64_t h = 0; h < in.q.size(2); ++h) {
        double sum = 0;
        for (int64_t j = 0; j < in.k.size(1); ++j) {
          if (!sees(b, i, j)) continue;
          double score = 0;
          for (int64_t x = 0; x < d; ++x) score += q[b][i][h][x] * k[b][j][h / share][x];
          const double weight = std::exp(scale * score);
          sum += weight;
          for (int64_t x = 0; x < d; ++x) y[b][i][h][x] += weight * v[b][j][h / share][x];
        }
        for (int64_t x = 0; x < d; ++x) y[b][i][h][x] /= sum;
      }
    }
  }
  return y64;
}

// The kernel and the reference in both precisions.
void expect_all_close(const Inputs& in, const AttentionOptions& options, const at::Tensor& want) {
  const auto close = [&](const at::Tensor& got, double tolerance, const char* what) {
    testing::expect_close(got.to(at::kDouble), want, tolerance, tolerance, what);
  };
  close(attention(in.q, in.k, in.v, options), 1e-5, "kernel");
  close(attention_reference(in.q, in.k, in.v, options), 1e-5, "reference");
  close(attention(in.q.to(at::kDouble), in.k.to(at::kDouble), in.v.to(at::kDouble), options), 1e-12,
        "float64");
}

TEST(Attention, SeesAllKeys) {
  const Inputs in = inputs(2, 4, 7, 3, 3, 5);
  expect_all_close(in, {}, by_hand(in, 1 / std::sqrt(5.0), [](auto...) { return true; }));
  expect_all_close(in, {.scale = 0.7}, by_hand(in, 0.7, [](auto...) { return true; }));
}

TEST(Attention, SeesWhatTheConditionsLeave) {
  const Inputs in = inputs(2, 9, 9, 2, 2, 4);
  const auto b_ij = [&](const AttentionOptions& options, const auto& sees) {
    expect_all_close(in, options, by_hand(in, 0.5, sees));
  };
  b_ij({.causal = true}, [](int64_t, int64_t i, int64_t j) { return j <= i; });
  b_ij({.window = 3}, [](int64_t, int64_t i, int64_t j) { return std::abs(i - j) < 3; });
  b_ij({.causal = true, .window = 1}, [](int64_t, int64_t i, int64_t j) { return i == j; });
  const at::Tensor segment =
      at::tensor(std::vector<int64_t>{4, 4, 4, -1, -1, -1, -1, 0, 0, 2, 3, 3, 3, 3, 3, 3, 3, 3})
          .reshape({2, 9});
  const auto same = [s = segment.accessor<int64_t, 2>()](int64_t b, int64_t i, int64_t j) {
    return s[b][i] == s[b][j];
  };
  b_ij({.segment_BK = segment}, same);
  b_ij({.causal = true, .window = 3, .segment_BK = segment},
       [&](int64_t b, int64_t i, int64_t j) { return same(b, i, j) && j <= i && i - j < 3; });
}

// Places that are not side by side: no span, so the reference runs.
TEST(Attention, SegmentsMayLieInPieces) {
  const Inputs in = inputs(1, 6, 6, 1, 1, 4);
  const at::Tensor segment = at::tensor(std::vector<int64_t>{1, 2, 1, 2, 2, 1}).reshape({1, 6});
  expect_all_close(
      in, {.segment_BK = segment},
      by_hand(in, 0.5, [s = segment.accessor<int64_t, 2>()](int64_t, int64_t i, int64_t j) {
        return s[0][i] == s[0][j];
      }));
}

TEST(Attention, HeadsOfQueriesShareHeadsOfKeys) {
  const Inputs in = inputs(2, 5, 5, 6, 2, 4);
  expect_all_close(in, {.causal = true},
                   by_hand(in, 0.5, [](int64_t, int64_t i, int64_t j) { return j <= i; }));
}

// One head is enough: that of self_attention, bit for bit, forward and backward.
TEST(Attention, HasTheBitsOfSelfAttention) {
  const int64_t B = 2, L = 37, N = 3, d = 8;
  const at::Tensor qkv = random("qkv", {B, L, 3 * N * d}).set_requires_grad(true);
  const at::Tensor packed = self_attention(qkv, N);
  packed.backward(random("cotangent", packed.sizes()));
  const at::Tensor apart = qkv.detach().reshape({B, L, 3, N, d});
  std::vector<at::Tensor> in;
  for (int64_t i = 0; i < 3; ++i) in.push_back(apart.select(2, i).clone().set_requires_grad(true));
  const at::Tensor y = attention(in[0], in[1], in[2]);
  EXPECT_TRUE(y.reshape({B, L, N * d}).equal(packed));
  y.backward(random("cotangent", packed.sizes()).reshape(y.sizes()));
  EXPECT_TRUE(at::stack({in[0].grad(), in[1].grad(), in[2].grad()}, 2)
                  .reshape(qkv.sizes())
                  .equal(qkv.grad()));
}

// A cache: the last queries alone over all keys are the last rows of the whole sequence.
TEST(Attention, ACacheGivesTheLastRowsOfTheWhole) {
  const Inputs in = inputs(2, 30, 30, 4, 2, 8);
  const at::Tensor segment = at::arange(30, at::kLong).floor_divide(12).expand({2, 30});
  for (const AttentionOptions& options :
       {AttentionOptions{.causal = true}, AttentionOptions{.causal = true, .window = 7},
        AttentionOptions{.causal = true, .segment_BK = segment}}) {
    const at::Tensor whole = attention(in.q, in.k, in.v, options);
    for (const int64_t first : {29, 17, 1}) {
      AttentionOptions from = options;
      from.offset = first;
      EXPECT_TRUE(attention(in.q.narrow(1, first, 30 - first), in.k, in.v, from)
                      .equal(whole.narrow(1, first, 30 - first)))
          << first;
    }
  }
}

// What is behind a query does not reach it: not by a bit, and no gradient.
TEST(Attention, TheFutureChangesNothing) {
  const Inputs in = inputs(1, 20, 20, 2, 2, 8);
  const at::Tensor before = attention(in.q, in.k, in.v, {.causal = true});
  const at::Tensor k = in.k.clone().set_requires_grad(true);
  const at::Tensor later = at::cat({k.narrow(1, 0, 12), k.narrow(1, 12, 8).mul(3)}, 1);
  const at::Tensor after = attention(in.q, later, in.v, {.causal = true});
  EXPECT_TRUE(after.narrow(1, 0, 12).equal(before.narrow(1, 0, 12)));
  after.narrow(1, 0, 12).sum().backward();
  EXPECT_TRUE(k.grad().narrow(1, 12, 8).eq(0).all().item<bool>());
}

TEST(Attention, LongSequencesRunTheReference) {
  const Inputs in = inputs(1, 1100, 1100, 1, 1, 4);
  EXPECT_TRUE(attention(in.q, in.k, in.v, {.causal = true})
                  .equal(attention_reference(in.q, in.k, in.v, {.causal = true})));
}

TEST(Attention, SaysWhatDoesNotFit) {
  const Inputs in = inputs(2, 3, 5, 4, 2, 2);
  const auto said = [&](const AttentionOptions& options) {
    return testing::message_of([&] { attention(in.q, in.k, in.v, options); });
  };
  EXPECT_THAT(said({.window = 0}), HasSubstr("a window of 0 places"));
  EXPECT_THAT(said({.scale = 0.0}), HasSubstr("the scale 0"));
  EXPECT_THAT(said({.scale = std::nan("")}), HasSubstr("the scale"));
  EXPECT_THAT(said({.causal = true, .offset = 3}), HasSubstr("from place 3 on"));
  EXPECT_THAT(said({.offset = -1}), HasSubstr("at place -1"));
  EXPECT_THAT(said({.segment_BK = at::zeros({2, 5})}), HasSubstr("int64 [2, 5]"));
  EXPECT_THAT(said({.segment_BK = at::zeros({2, 4}, at::kLong)}), HasSubstr("int64 [2, 5]"));
  EXPECT_THAT(testing::message_of([&] { attention(in.q.narrow(2, 0, 3), in.k, in.v); }),
              HasSubstr("3 heads of queries cannot share 2"));
  EXPECT_THAT(testing::message_of([&] { attention(in.q, in.k, in.v.narrow(1, 0, 4)); }),
              HasSubstr("not of one shape"));
  EXPECT_THAT(testing::message_of([&] { attention(in.q.narrow(0, 0, 1), in.k, in.v); }),
              HasSubstr("differ in samples"));
  EXPECT_THAT(testing::message_of([&] { attention(in.q, in.k.to(at::kDouble), in.v); }),
              HasSubstr("of one type"));
}

}  // namespace
}  // namespace gallop::ops
