#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using ::testing::HasSubstr;
using testing::Selector;
using testing::tensor_of;

// Entropies of 1/2, 1/4, 1/4 and of three equal ones: 1.5 bits / log2(3) = 0.946, and 1.
TEST(TopP, TheSwitchIsAShareOfTheLargestEntropy) {
  const at::Tensor logits = tensor_of({0, 0.6931472f, 0, 0, 0, 0}).reshape({1, 2, 3});
  const auto kept = [&](const std::string& all_above) {
    return Selector("kind = \"top_p\"\np = 0.1\nq = 1\nall_above = " + all_above, logits.sizes(), 1)
        .mask(logits)
        .sum(-1)[0];
  };
  EXPECT_TRUE(kept("0.94").equal(tensor_of({3, 3}).to(at::kLong)));
  EXPECT_TRUE(kept("0.96").equal(tensor_of({1, 3}).to(at::kLong)));
}

TEST(TopP, RefusesWhatHasNoEffect) {
  const auto message = [](const std::string& toml) {
    return testing::message_of([&] { Selector("kind = \"top_p\"\n" + toml, {1, 2, 3}, 1); });
  };
  EXPECT_THAT(message("all_above = 1.6"), HasSubstr("the entropy is a share of its maximum"));
  EXPECT_THAT(message("least = 4"), HasSubstr("selection.least = 4 of 3 experts"));
  EXPECT_THAT(message("p = 0\nleast = 0"), HasSubstr("keep no expert at all"));
  EXPECT_EQ(message("p = 0\nleast = 2"), "no error");
}

}  // namespace
}  // namespace gallop::sparse
