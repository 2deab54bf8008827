#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/ops/self_attention.h"
#include "tests/ops/operator_test.h"
#include "tests/support/fixture.h"

namespace gallop::testing {
namespace {

GALLOP_TEST_OPERATOR(SelfAttention, self_attention_cases());

// A score of a thousand would overflow without the maximum taken off.
TEST(SelfAttention, TakesLargeScores) {
  const at::Tensor qkv = random("qkv", {1, 9, 24}, 30);
  expect_close(ops::self_attention(qkv, 1),
               ops::self_attention_reference(qkv.to(at::kDouble), 1).to(at::kFloat), 1e-4, 1e-4,
               "attention");
}

TEST(SelfAttention, ASampleHasTheSameBitsWhateverTheBatch) {
  const at::Tensor qkv = random("qkv", {5, 21, 48});
  EXPECT_TRUE(ops::self_attention(qkv, 2).narrow(0, 3, 1).equal(
      ops::self_attention(qkv.narrow(0, 3, 1), 2)));
}

TEST(SelfAttention, LongSequencesRunTheReference) {
  const at::Tensor qkv = random("qkv", {1, 1100, 12});
  EXPECT_TRUE(ops::self_attention(qkv, 1).equal(ops::self_attention_reference(qkv, 1)));
}

TEST(SelfAttention, NamesAWidthThatDoesNotFit) {
  EXPECT_THROW(ops::self_attention(random("qkv", {1, 3, 20}), 2), Error);
  EXPECT_THROW(ops::self_attention(random("qkv", {1, 3, 24}), 0), Error);
}

}  // namespace
}  // namespace gallop::testing
