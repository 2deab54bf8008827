#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/nn/feed_forward.h"
#include "tests/support/weights.h"

namespace gallop::blocks {
namespace {

// The numbers of the dense MLP itself are checked within DiT (tests/models/dit_test.cpp).
std::vector<int64_t> hidden_shape(const std::string& settings) {
  nn::Module root;
  const auto mlp =
      testing::make<nn::FeedForward>("kind = \"dense\"\n" + settings, {.parent = &root, .D = 24});
  return root.find_parameter("mlp.fc1.weight")->shape();
}

TEST(DenseMlp, HiddenWidthIsGivenOrARatio) {
  EXPECT_EQ(hidden_shape(""), (std::vector<int64_t>{96, 24}));
  EXPECT_EQ(hidden_shape("ratio = 1.5"), (std::vector<int64_t>{36, 24}));
  EXPECT_EQ(hidden_shape("hidden = 50"), (std::vector<int64_t>{50, 24}));
  EXPECT_THROW(hidden_shape("ratio = 0"), Error);
}

}  // namespace
}  // namespace gallop::blocks
