#include "gallop/ops/product_topk.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>

#include "gallop/base/error.h"
#include "gallop/ops/topk_mask.h"
#include "tests/support/tensors.h"
#include "tests/support/threads.h"

namespace gallop::ops {
namespace {

using testing::random_normal;
using testing::tensor_of;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

void expect_best_of_all(const at::Tensor& a_RN, const at::Tensor& b_RM, int64_t K) {
  const at::Tensor all = a_RN.unsqueeze(2).add(b_RM.unsqueeze(1)).flatten(1);
  EXPECT_TRUE(product_topk(a_RN, b_RM, K).equal(ranking(all).narrow(1, 0, K)))
      << a_RN.sizes() << " and " << b_RM.sizes() << ", K = " << K;
}

TEST(ProductTopK, IsThatOfAllPairs) {
  const std::vector<std::pair<int64_t, int64_t>> sides = {{1, 1}, {1, 7}, {7, 1}, {5, 9}, {40, 40}};
  for (const auto& [N, M] : sides) {
    const at::Tensor a = random_normal({50, N}, "a"), b = random_normal({50, M}, "b");
    for (const int64_t K : {1, 2, 8, 45, 400}) {
      if (K > N * M) continue;
      expect_best_of_all(a, b, K);
      expect_best_of_all(a.to(at::kDouble), b.to(at::kDouble), K);
    }
  }
}

// Sums that are equal, and sums that only become so as they are rounded: the smaller index goes
// first, wherever its halves stand.
TEST(ProductTopK, BreaksTiesByTheIndex) {
  for (const int64_t K : {1, 3, 16, 100}) {
    expect_best_of_all(at::zeros({2, 12}), at::zeros({2, 12}), K);
    expect_best_of_all(random_normal({60, 12}, "a").round(), random_normal({60, 12}, "b").round(),
                       K);
    expect_best_of_all(random_normal({60, 12}, "a").mul(1e-7), random_normal({60, 12}, "b").add(8),
                       K);
  }
}

TEST(ProductTopK, PutsNaNLast) {
  at::Tensor a = random_normal({4, 6}, "a"), b = random_normal({4, 6}, "b");
  a.select(0, 0).copy_(tensor_of({kNaN, 1, kInfinity, -kInfinity, 0, 2}));
  b.select(0, 0).copy_(tensor_of({-kInfinity, kNaN, 3, kInfinity, 0, 1}));
  a.select(0, 1).fill_(kNaN);
  b.select(0, 2).fill_(-kInfinity);
  for (const int64_t K : {1, 5, 20, 36}) expect_best_of_all(a, b, K);
}

TEST(ProductTopK, DoesNotDependOnTheThreads) {
  const at::Tensor a = random_normal({300, 64}, "a"), b = random_normal({300, 64}, "b");
  const testing::Threads restored(1);
  const at::Tensor alone = product_topk(a, b, 16);
  testing::Threads::set(3);
  EXPECT_TRUE(product_topk(a, b, 16).equal(alone));
}

TEST(ProductTopK, RefusesWhatDoesNotFit) {
  EXPECT_EQ(product_topk(at::zeros({2, 3}), at::zeros({2, 3}), 0).sizes(), at::IntArrayRef({2, 0}));
  EXPECT_EQ(product_topk(at::zeros({0, 3}), at::zeros({0, 3}), 2).sizes(), at::IntArrayRef({0, 2}));
  EXPECT_THROW(product_topk(at::zeros({2, 3}), at::zeros({2, 3}), 10), Error);
  EXPECT_THROW(product_topk(at::zeros({2, 3}), at::zeros({3, 3}), 1), Error);
  EXPECT_THROW(product_topk(at::zeros({2, 3}), at::zeros({2, 3}, at::kDouble), 1), Error);
}

}  // namespace
}  // namespace gallop::ops
