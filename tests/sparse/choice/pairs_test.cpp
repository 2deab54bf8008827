#include "gallop/sparse/choice/pairs.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/choice/kept.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using testing::random_normal;
using testing::tensor_of;

void expect_equal(const Pairs& made, const Pairs& expected) {
  EXPECT_EQ(made.samples(), expected.samples());
  EXPECT_EQ(made.tokens(), expected.tokens());
  EXPECT_EQ(made.candidates(), expected.candidates());
  EXPECT_EQ(made.count(), expected.count());
  EXPECT_TRUE(made.token_P().equal(expected.token_P()));
  EXPECT_TRUE(made.candidate_P().equal(expected.candidate_P()));
  EXPECT_TRUE(made.offsets().equal(expected.offsets()));
  EXPECT_TRUE(made.loads().equal(expected.loads()));
  EXPECT_TRUE(made.count_B().equal(expected.count_B()));
  EXPECT_TRUE(made.mask_BLE().equal(expected.mask_BLE()));
  EXPECT_EQ(made.starved(), expected.starved());
}

// Candidates few enough for a table of them, and too many.
TEST(Pairs, AreTheSameWhateverTheyAreMadeOf) {
  for (const int64_t E : {6, 1000}) {
    for (const int64_t K : {0, 1, 3}) {
      const at::Tensor score_BLE = random_normal({2, 4, E}, "score");
      const at::Tensor score_TE = score_BLE.flatten(0, 1);
      const Pairs of_mask =
          Pairs::of_mask(ops::topk_mask(score_TE, K).mask_RN.reshape(score_BLE.sizes()));
      const Pairs::Shape shape{.samples = 2, .tokens = 4, .candidates = E};
      expect_equal(Pairs::of_lists(ops::topk(score_TE, K).reshape({2, 4, K}), E), of_mask);
      expect_equal(Pairs::of_sorted(shape, of_mask.token_P(), of_mask.candidate_P()), of_mask);
      expect_equal(Pairs::of_runs(shape, of_mask.token_P(), of_mask.offsets()), of_mask);
    }
  }
}

TEST(Pairs, CountTokensWithoutOne) {
  const at::Tensor mask = tensor_of({1, 1, 0, 0, 0, 1}).reshape({1, 3, 2}).to(at::kBool);
  EXPECT_EQ(Pairs::of_mask(mask).starved(), 1);
  EXPECT_TRUE(Pairs::of_mask(mask).count_B().equal(tensor_of({3}).to(at::kLong)));
}

TEST(Pairs, OfSomeSamples) {
  const at::Tensor mask = random_normal({3, 4, 5}, "mask").gt(0);
  const at::Tensor wanted = tensor_of({1, 0, 1}).to(at::kBool);
  expect_equal(Pairs::of_mask(mask).of_samples(wanted),
               Pairs::of_mask(mask.logical_and(wanted.reshape({3, 1, 1}))));
}

TEST(Pairs, OfPositions) {
  const at::Tensor positions = tensor_of({0, 2, 1, 3}).reshape({2, 2}).to(at::kLong);
  const at::Tensor mask = tensor_of({1, 0, 1, 0, 0, 1, 0, 1}).reshape({2, 4, 1}).to(at::kBool);
  expect_equal(Pairs::of_positions(positions, 4), Pairs::of_mask(mask));
}

// Two queries of a token may find the same candidate.
TEST(Kept, AddsThePairsThatStandThereTwice) {
  const Pairs pairs =
      Pairs::of_sorted({.samples = 1, .tokens = 2, .candidates = 3},
                       tensor_of({0, 0, 1}).to(at::kLong), tensor_of({1, 1, 2}).to(at::kLong));
  const Kept kept(pairs, tensor_of({0.5, 0.25, 2}));
  EXPECT_TRUE(kept.weights_BLE().equal(tensor_of({0, 0.75, 0, 0, 0, 2}).reshape({1, 2, 3})));
  EXPECT_TRUE(kept.loads().equal(tensor_of({0, 2, 1}).to(at::kLong)));
  EXPECT_EQ(kept.mask_BLE().sum().item<int64_t>(), 2);
}

TEST(Pairs, ThatWereNeverChosenSaySo) { EXPECT_THROW(Pairs().token_P(), Error); }

}  // namespace
}  // namespace gallop::sparse
