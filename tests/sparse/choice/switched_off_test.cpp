#include "gallop/sparse/choice/switched_off.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

namespace gallop::sparse {
namespace {

// Two samples of three tokens that keep all of four candidates, with weights of their own.
Kept everything() {
  const at::Tensor mask = at::ones({2, 3, 4}, at::TensorOptions(at::kBool));
  return keep(Pairs::of_mask(mask), at::arange(24.).reshape({2, 3, 4}));
}

TEST(SwitchedOff, NothingIsTakenFromOtherLayersAndRows) {
  const SwitchedOff off = {{"a", {1, 3}}};
  const Kept kept = everything();
  const RowsSwitchedOff rows = switched_off_of_rows({nullptr, &off}, at::kCPU);
  EXPECT_EQ(rows.left("b", kept).count(), 24);
  const Kept left = rows.left("a", kept);
  const at::Tensor expected = kept.weights_BLE().clone();
  for (const int64_t e : {1, 3}) expected.select(0, 1).select(1, e).zero_();
  EXPECT_TRUE(left.weights_BLE().equal(expected));
  EXPECT_TRUE(left.mask_BLE().select(0, 0).all().item<bool>());
  EXPECT_EQ(left.count(), 18);
  EXPECT_TRUE(left.offsets().equal(at::tensor({0, 6, 9, 15, 18}, at::kLong)));
  EXPECT_EQ(left.chosen().count(), 24);
}

TEST(SwitchedOff, AllRowsAlikeNeedNoNumbers) {
  const SwitchedOff off = {{"a", {0, 1, 2, 3}}};
  const RowsSwitchedOff rows = switched_off_of_rows({&off, &off}, at::kCPU);
  EXPECT_FALSE(rows.setting_B.defined());
  const Kept left = rows.left("a", everything());
  EXPECT_EQ(left.count(), 0);
  EXPECT_EQ(left.starved(), 6);
  EXPECT_EQ(switched_off_of_rows({}, at::kCPU).left("a", everything()).count(), 24);
}

}  // namespace
}  // namespace gallop::sparse
