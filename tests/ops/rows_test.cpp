#include "gallop/ops/rows.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/ops/operator_case.h"
#include "tests/support/errors.h"
#include "tests/support/rows.h"
#include "tests/support/threads.h"

namespace gallop::ops {
namespace {

using ::gallop::testing::message_of;
using ::gallop::testing::random;
using ::gallop::testing::rows_gradient;
using ::gallop::testing::some_rows;
using ::testing::HasSubstr;

// Sums in the order in which a row came, in float32: any other order has other last bits.
TEST(CoalesceRows, AddsUpInTheOrderInWhichRowsCame) {
  constexpr int64_t table = 1'000'003, width = 9, count = 20000;
  std::vector<int64_t> rows = some_rows(count, 500, 1);
  for (int64_t& row : rows) row *= 2000;
  rows[7] = table - 1;
  const at::Tensor values = random("values", {count, width}, 1e3);
  std::map<int64_t, at::Tensor> expected;
  for (int64_t i = 0; i < count; ++i) {
    const auto [found, is_new] = expected.try_emplace(rows[i], values[i].clone());
    if (!is_new) found->second.add_(values[i]);
  }
  const at::Tensor gradient = rows_gradient(rows, values, table);
  const at::Tensor one = coalesce_rows(gradient);
  ASSERT_TRUE(one.is_coalesced());
  ASSERT_EQ(one._nnz(), static_cast<int64_t>(expected.size()));
  int64_t i = 0;
  for (const auto& [row, sum] : expected) {
    ASSERT_EQ(one._indices()[0][i].item<int64_t>(), row);
    ASSERT_TRUE(one._values()[i].equal(sum)) << row;
    ++i;
  }
  EXPECT_TRUE(coalesce_rows(one).is_same(one));
  const at::Tensor reference = coalesce_rows_reference(gradient);
  EXPECT_TRUE(reference._indices().equal(one._indices()));
  EXPECT_TRUE(reference._values().allclose(one._values(), 1e-3, 1e-2));
}

TEST(CoalesceRows, GivesTheSameBitsForAllThreads) {
  const at::Tensor gradient =
      rows_gradient(some_rows(30000, 3000, 2), random("values", {30000, 32}), 3000);
  const testing::Threads restored(1);
  const at::Tensor one = coalesce_rows(gradient);
  testing::Threads::set(3);
  const at::Tensor three = coalesce_rows(gradient);
  EXPECT_TRUE(one._values().equal(three._values()));
  EXPECT_TRUE(one._indices().equal(three._indices()));
}

TEST(CoalesceRows, TakesEveryShapeAndType) {
  const at::Tensor none = coalesce_rows(rows_gradient({}, at::empty({0, 4}), 6));
  EXPECT_EQ(none._nnz(), 0);
  EXPECT_EQ(none._values().sizes(), at::IntArrayRef({0, 4}));
  const at::Tensor single = coalesce_rows(rows_gradient({0, 0}, random("v", {2}), 1));
  EXPECT_EQ(single._values().sizes(), at::IntArrayRef({1}));
  for (const auto type : {at::kFloat, at::kDouble}) {
    const at::Tensor cubes = random("v", {4, 2, 3}).to(type);
    const at::Tensor sums = coalesce_rows(rows_gradient({5, 2, 5, 0}, cubes, 6));
    EXPECT_TRUE(sums._values()[2].equal(cubes[0] + cubes[2]));
    EXPECT_TRUE(sums.to_dense()[2].equal(cubes[1]));
  }
}

TEST(CoalesceRows, RefusesOtherLayoutsAndRows) {
  EXPECT_THAT(message_of([] { coalesce_rows(at::zeros({3, 2})); }), HasSubstr("sparse COO"));
  EXPECT_THAT(message_of([] { coalesce_rows(rows_gradient({1, 6}, at::zeros({2, 4}), 6)); }),
              HasSubstr("row 6 of a table with rows 0 to 5"));
  EXPECT_THAT(message_of([] { coalesce_rows(rows_gradient({1, -1}, at::zeros({2, 4}), 6)); }),
              HasSubstr("row -1"));
}

}  // namespace
}  // namespace gallop::ops
