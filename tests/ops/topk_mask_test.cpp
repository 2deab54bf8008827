#include "gallop/ops/topk_mask.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <limits>

#include "gallop/base/error.h"
#include "tests/support/tensors.h"
#include "tests/support/threads.h"

namespace gallop::ops {
namespace {

using testing::random_normal;
using testing::tensor_of;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using TopKFunction = TopK (*)(const at::Tensor&, int64_t);

class TopKMask : public ::testing::TestWithParam<TopKFunction> {
 protected:
  // The kept columns of a row as 0 and 1, and the worst of them.
  static void expect(const std::vector<float>& row, int64_t K, const std::vector<float>& mask,
                     int64_t last) {
    const at::Tensor key = tensor_of(row).unsqueeze(0);
    const TopK top = GetParam()(key, K);
    EXPECT_TRUE(top.mask_RN[0].equal(tensor_of(mask).to(at::kBool))) << "K = " << K;
    EXPECT_EQ(top.last_R[0].item<int64_t>(), last) << "K = " << K;
  }
};

TEST(Ranking, IsByValueThenIndexWithNaNLast) {
  const at::Tensor key = tensor_of({2, kNaN, 0, -0.0F, -kInfinity, 7, 2, kNaN});
  EXPECT_TRUE(
      ranking(key.unsqueeze(0))[0].equal(tensor_of({5, 0, 6, 2, 3, 1, 4, 7}).to(at::kLong)));
}

// Few and many of a row, by one name in each type: the first of the ranking.
TEST(TopK, IsTheBeginningOfTheRanking) {
  at::Tensor key = random_normal({7, 300}, "key");
  key.select(0, 1).mul_(3).round_();  // ties
  key.select(0, 2).zero_();
  key.select(0, 3).slice(0, 0, 290).fill_(kNaN);
  key.select(0, 4).slice(0, 5, 200).fill_(-kInfinity);
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const at::Tensor typed = key.to(type);
    for (const int64_t K : {0, 1, 8, 32, 33, 299, 300}) {
      EXPECT_TRUE(topk(typed, K).equal(ranking(typed).narrow(1, 0, K))) << type << ", " << K;
    }
  }
  EXPECT_THROW(topk(key, 301), Error);
}

TEST_P(TopKMask, KeepsTheLargest) {
  expect({1, 5, 3, 4}, 1, {0, 1, 0, 0}, 1);
  expect({1, 5, 3, 4}, 3, {0, 1, 1, 1}, 2);
  expect({1, 5, 3, 4}, 4, {1, 1, 1, 1}, 0);
}

TEST_P(TopKMask, BreaksTiesByTheIndex) {
  expect({2, 7, 2, 2}, 3, {1, 1, 1, 0}, 2);
  expect({-0.0f, 0.0f, -0.0f}, 2, {1, 1, 0}, 1);
  expect({1, 1, 1, 1}, 2, {1, 1, 0, 0}, 1);
}

TEST_P(TopKMask, RanksInfinitiesAndPutsNaNLast) {
  expect({kNaN, 1, kInfinity, -kInfinity}, 2, {0, 1, 1, 0}, 1);
  expect({kNaN, kNaN, 3}, 1, {0, 0, 1}, 2);
}

TEST_P(TopKMask, KeepsNothingForZero) {
  const TopK top = GetParam()(random_normal({3, 5}, "zero"), 0);
  EXPECT_FALSE(top.mask_RN.any().item<bool>());
  EXPECT_EQ(top.mask_RN.sizes(), at::IntArrayRef({3, 5}));
  EXPECT_FALSE(top.last_R.defined());
}

TEST_P(TopKMask, RefusesAnImpossibleK) {
  EXPECT_THROW(GetParam()(random_normal({3, 5}, "key"), 6), Error);
  EXPECT_THROW(GetParam()(random_normal({3, 5}, "key"), -1), Error);
  EXPECT_THROW(GetParam()(random_normal({5}, "key"), 1), Error);
}

INSTANTIATE_TEST_SUITE_P(All, TopKMask, ::testing::Values(&topk_mask, &topk_mask_reference),
                         [](const auto& info) { return info.index == 0 ? "fused" : "reference"; });

TEST(TopKMask, BothFormsAgreeOnRandomRowsWithTies) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    // Quarters, so that many are equal; transposed, so that rows are not contiguous.
    const at::Tensor key = random_normal({301, 7}, "agree").mul(4).round().div(4).t().to(type);
    for (const int64_t K : {1, 60, 150, 301}) {
      const TopK fused = topk_mask(key, K), reference = topk_mask_reference(key, K);
      EXPECT_TRUE(fused.mask_RN.equal(reference.mask_RN)) << K;
      EXPECT_TRUE(fused.last_R.equal(reference.last_R)) << K;
      EXPECT_TRUE(fused.mask_RN.sum(1).eq(K).all().item<bool>()) << K;
    }
  }
}

// Long rows are selected by the digits of their scores.
TEST(TopKMask, BothFormsAgreeOnLongRows) {
  const int64_t N = 70001;
  at::Tensor special = random_normal({1, N}, "special");
  special.narrow(1, 10, 500).fill_(kNaN);
  special.narrow(1, 20000, 300).fill_(kInfinity);
  special.narrow(1, 30000, 300).fill_(-kInfinity);
  special.narrow(1, 40000, 2000).fill_(0.0F);
  special.narrow(1, 41000, 500).fill_(-0.0F);
  for (const at::Tensor& key :
       {random_normal({2, N}, "plain"), random_normal({1, N}, "ties").mul(4).round().div(4),
        random_normal({1, N}, "close").mul(1e-6).add(1), random_normal({1, N}, "tiny").mul(1e-40),
        at::full({1, N}, 0.25), special}) {
    for (const int64_t K : {int64_t{1}, int64_t{300}, N / 8, N / 2, N - 100, N - 1, N}) {
      const TopK fused = topk_mask(key, K), reference = topk_mask_reference(key, K);
      EXPECT_TRUE(fused.mask_RN.equal(reference.mask_RN)) << K;
      EXPECT_TRUE(fused.last_R.equal(reference.last_R)) << K;
    }
  }
}

TEST(TopKMask, DoesNotDependOnTheNumberOfThreads) {
  const at::Tensor key = random_normal({1, 200000}, "threads").mul(8).round();
  const testing::Threads restored(1);
  const TopK one = topk_mask(key, 50000);
  testing::Threads::set(3);
  const TopK three = topk_mask(key, 50000);
  EXPECT_TRUE(one.mask_RN.equal(three.mask_RN));
  EXPECT_TRUE(one.last_R.equal(three.last_R));
}

}  // namespace
}  // namespace gallop::ops
