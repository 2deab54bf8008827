#include "gallop/inspection/tensor_summary.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gallop/nn/tensor_io.h"

namespace gallop::inspection {
namespace {

using ::testing::HasSubstr;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();

TensorSummary summary_of(const at::Tensor& tensor) { return summarize(nn::view_of("t", tensor)); }

TEST(TensorSummary, OfEveryType) {
  const at::Tensor base = at::arange(0, 12).reshape({3, 4});
  for (const auto type : {at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf,
                          at::kBFloat16, at::kFloat, at::kDouble}) {
    const TensorSummary s = summary_of(base.to(type));
    EXPECT_EQ(s.shape, (std::vector<int64_t>{3, 4}));
    EXPECT_EQ(s.elements, 12);
    EXPECT_EQ(s.min, 0) << s.type;
    EXPECT_EQ(s.max, 11) << s.type;
    EXPECT_EQ(s.mean, 5.5) << s.type;
    EXPECT_EQ(s.nan + s.infinite, 0) << s.type;
  }
  EXPECT_EQ(summary_of(base.to(at::kBFloat16)).type, "BF16");
  EXPECT_EQ(summary_of(base.gt(2)).mean, 0.75);
}

TEST(TensorSummary, NonFiniteElementsAreCountedAndLeftOut) {
  const at::Tensor t = at::full({6}, 2.0);
  t[1].fill_(nan);
  t[2].fill_(inf);
  t[3].fill_(-inf);
  t[4].fill_(-4.0);
  const TensorSummary s = summary_of(t);
  EXPECT_EQ(s.nan, 1);
  EXPECT_EQ(s.infinite, 2);
  EXPECT_EQ(s.min, -4);
  EXPECT_EQ(s.max, 2);
  EXPECT_EQ(s.mean, 0);
}

TEST(TensorSummary, WithoutFiniteElementsThereIsNoMean) {
  EXPECT_TRUE(std::isnan(summary_of(at::full({2}, nan)).mean));
  const TensorSummary empty = summary_of(at::empty({0, 3}));
  EXPECT_EQ(empty.elements, 0);
  EXPECT_TRUE(std::isnan(empty.min));
}

// Longer than one of the pieces in which it is read: 0 .. n-1 has the mean (n-1)/2.
TEST(TensorSummary, OfALongTensor) {
  constexpr int64_t n = (1 << 20) + 7;
  const TensorSummary s = summary_of(at::arange(0, n, at::kInt));
  EXPECT_EQ(s.max, n - 1);
  EXPECT_EQ(s.mean, (n - 1) / 2.0);
}

TEST(TensorSummary, TheTableIsAligned) {
  const at::Tensor bad = at::full({2, 2}, 0.5);
  bad[0][0].fill_(nan);
  bad[0][1].fill_(inf);
  EXPECT_EQ(table_of({summarize(nn::view_of("blocks.0.w", bad)),
                      summarize(nn::view_of("n", at::full({}, 7, at::kLong))),
                      summarize(nn::view_of("threshold", at::full({}, nan)))}),
            "tensor      type  shape   min  max  mean  non-finite\n"
            "blocks.0.w  F32   [2, 2]  0.5  0.5   0.5  1 NaN, 1 inf\n"
            "n           I64   []        7    7     7  -\n"
            "threshold   F32   []        -    -     -  1 NaN\n"
            "3 tensors, 6 elements, 3 of them not finite\n");
}

}  // namespace
}  // namespace gallop::inspection
