// Parts that do not fit are told when a model is built, with the names of both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/blocks/depth/block_routing.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/nn/needs.h"
#include "gallop/runs/restore.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_run.h"
#include "tests/support/weights.h"

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

// What goes without labels cannot tell those who have none, or have others.
TEST(Misfits, APartThatNeedsLabelsOrSamplesWithout) {
  const std::string no_null = "model.label_dropout=0", no_labels = "model.classes=0";
  for (const auto& [part, override] :
       {std::pair<std::string, std::string>{"selection 'conditional'",
                                            "model.mlp.selection=conditional"},
        {"expert kind 'unconditional'", "model.mlp.expert=unconditional"}}) {
    EXPECT_EQ(error_of({override}), "no error") << part;
    for (const std::string& without : {no_null, no_labels}) {
      EXPECT_THAT(error_of({override, without}),
                  AllOf(HasSubstr("blocks.0.moe"), HasSubstr(part), HasSubstr("model 'dit'"),
                        HasSubstr("samples without a label")))
          << part;
    }
  }
  const std::string loss = "model.mlp.losses.mutual_information";
  EXPECT_EQ(error_of({loss + ".weight=0.1"}), "no error");
  EXPECT_EQ(error_of({loss + ".weight=0.1", no_null}), "no error");
  EXPECT_THAT(error_of({loss + ".weight=0.1", no_labels}),
              AllOf(HasSubstr("blocks.0.moe"), HasSubstr("loss 'mutual_information'"),
                    HasSubstr("model 'dit'"), HasSubstr("class labels")));
  EXPECT_EQ(error_of({loss + ".weight=0.1", loss + ".task=time", no_labels}), "no error");
}

// A model that gives nothing: each part that reads what only some models have is told.
TEST(Misfits, APartOfAModelThatGivesNothing) {
  const auto said = [](auto make) {
    nn::Module root;
    const auto part = make(&root);
    return testing::message_of([&] { nn::require_given(root, {}, "the model 'other'"); });
  };
  const auto in_mlp = [&](const std::string& toml) {
    return said([&](nn::Module* root) {
      return testing::make<nn::FeedForward>("kind = \"moe\"\n" + toml,
                                            {.parent = root, .D = 8, .tokens = 4, .layers = 1});
    });
  };
  EXPECT_EQ(in_mlp(""), "no error");
  EXPECT_THAT(in_mlp("router = \"timestep\""),
              AllOf(HasSubstr("moe.router"), HasSubstr("router 'timestep'"),
                    HasSubstr("the model 'other'"), HasSubstr("a time that the model embeds")));
  EXPECT_THAT(in_mlp("losses = { per_layer = { weight = 1 } }"),
              AllOf(HasSubstr("loss 'per_layer'"), HasSubstr("training target")));
  const auto block_routing = [&](const std::string& toml) {
    return said([&](nn::Module* root) {
      return testing::make<blocks::BlockRouting>(toml, {.parent = root, .D = 8, .tokens = 4});
    });
  };
  EXPECT_EQ(block_routing("kind = \"mor\""), "no error");
  EXPECT_THAT(block_routing("kind = \"timestep_mask\""),
              AllOf(HasSubstr("block routing 'timestep_mask'"), HasSubstr("a time")));
  EXPECT_THAT(block_routing("kind = \"mor\"\nlosses = { mutual_information = { weight = 1 } }"),
              AllOf(HasSubstr("loss 'mutual_information'"), HasSubstr("class labels")));
}

}  // namespace
}  // namespace gallop::models
