// Which selections let the samples of a batch change each other at inference.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/nn/feed_forward.h"
#include "gallop/sparse/choice/mixing.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> mixing(const std::string& selection) {
  nn::Module root;
  const auto layer = gallop::testing::make<nn::FeedForward>(
      "kind = \"moe\"\nsetting = \"2-in-4\"\nselection = " + selection,
      {.parent = &root, .D = 8, .tokens = 4, .layers = 1});
  return selections_that_mix_samples(root);
}

TEST(Mixing, NamesTheLayersWhoseSamplesCompete) {
  EXPECT_THAT(mixing("'diffmoe'"), ElementsAre("moe.router"));
  EXPECT_THAT(mixing("{ kind = 'capacity', inference = 'drop' }"), ElementsAre("moe.router"));
  EXPECT_THAT(mixing("{ kind = 'race', inference = 'top-k' }"), ElementsAre("moe.router"));
  EXPECT_THAT(mixing("{ kind = 'conditional', of = 'diffmoe' }").size(), 1u);
}

TEST(Mixing, IsEmptyWhereASampleStandsAlone) {
  EXPECT_THAT(mixing("'race'"), IsEmpty());
  EXPECT_THAT(mixing("'token'"), IsEmpty());
  EXPECT_THAT(mixing("{ kind = 'diffmoe', inference = 'pairs' }"), IsEmpty());
  EXPECT_THAT(mixing("{ kind = 'capacity', inference = 'keep' }"), IsEmpty());
}

}  // namespace
}  // namespace gallop::sparse
