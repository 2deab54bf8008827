// Parts that do not fit are told when a model is built, with the names of both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/runs/restore.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_run.h"

namespace gallop::models {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string error_of(const std::vector<std::string>& overrides) {
  return testing::message_of(
      [&] { runs::make_task(training::recipe_in("unused", overrides))->make_model(); });
}

TEST(Misfits, ALossThatNobodyShowsWhatItNeeds) {
  for (const char* loss : {"capacity", "contrastive", "load"}) {
    const std::string key = std::string("model.mlp.losses.") + loss + ".weight=0.1";
    EXPECT_THAT(error_of({key}),
                AllOf(HasSubstr("blocks.0.moe"), HasSubstr("the loss '" + std::string(loss) + "'"),
                      HasSubstr("router 'mlp'"), HasSubstr("selection 'race'")))
        << loss;
    EXPECT_THAT(error_of({"model.attention={kind=\"moh\",shared=1,active=1}",
                          std::string("model.attention.losses.") + loss + ".weight=0.1"}),
                AllOf(HasSubstr("blocks.0.attn"), HasSubstr("attention 'moh' does not show")))
        << loss;
  }
  EXPECT_EQ(error_of({"model.mlp.losses.capacity.weight=0.1", "model.mlp.selection=diffmoe"}),
            "no error");
  EXPECT_EQ(error_of({"model.mlp.losses.capacity.weight=0.1",
                      "model.mlp.selection={kind=\"conditional\",of=\"diffmoe\"}"}),
            "no error");
  EXPECT_EQ(error_of({"model.mlp.losses.load.weight=0.1", "model.mlp.router=noisy"}), "no error");
  EXPECT_EQ(error_of({"model.mlp.losses.contrastive.weight=0.1", "model.mlp.router=prototype"}),
            "no error");
}

TEST(Misfits, AHeadOfEveryTokenInABlockOfSome) {
  for (const char* kind : {"mod", "p_mod", "mor"}) {
    EXPECT_THAT(error_of({std::string("model.block_routing=") + kind}),
                AllOf(HasSubstr("block routing '" + std::string(kind) + "'"),
                      HasSubstr("loss 'per_layer'")));
    EXPECT_EQ(error_of({std::string("model.block_routing=") + kind,
                        "model.mlp.losses.per_layer.weight=0"}),
              "no error");
  }
}

}  // namespace
}  // namespace gallop::models
