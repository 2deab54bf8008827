// Numbers that a layer could not take as they stand are refused, not rounded down to something else
// (half an expert a token to none, for example).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/nn/feed_forward.h"
#include "gallop/sparse/selections/capacity.h"
#include "gallop/training/trainer.h"
#include "tests/support/block_body.h"
#include "tests/support/errors.h"
#include "tests/support/routing.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_run.h"
#include "tests/support/weights.h"

namespace gallop::sparse {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::random_normal;

// What a sparse layer of a recipe says, on samples of `tokens` tokens.
std::string layer(const std::string& toml, int64_t tokens = 16) {
  nn::Module root;
  return message_of([&] {
    testing::make<nn::FeedForward>("kind = \"moe\"\nhidden = 4\nrouter = \"linear\"\n" + toml,
                                   {.parent = &root, .D = 8, .tokens = tokens, .layers = 1});
  });
}

TEST(Truncation, ATokenTakesWholeExperts) {
  for (const char* selection : {"\"grouped\"", "\"growing\"", "\"capacity\"",
                                "{ kind = \"conditional\", of = \"grouped\" }"}) {
    for (const char* active : {"0.5", "2.5"}) {
      EXPECT_THAT(
          layer(std::string("experts = 4\nactive = ") + active + "\nselection = " + selection),
          AllOf(HasSubstr("whole number of choices"), HasSubstr(active)))
          << selection;
    }
    EXPECT_EQ(layer(std::string("experts = 4\nactive = 2\nselection = ") + selection), "no error");
  }
}

// K = floor(k * pool / E) is the rule of Expert Race's selections, a token's own included.
TEST(Truncation, PoolsRoundDownButNotToNothing) {
  const std::string experts = "experts = 4\nactive = ";
  for (const std::string selection : {"\"token\"", "{ kind = \"conditional\", of = \"token\" }"}) {
    EXPECT_THAT(layer(experts + "0.5\nselection = " + selection),
                HasSubstr("no expert would ever run"));
    EXPECT_EQ(layer(experts + "2.5\nselection = " + selection), "no error");
  }
}

TEST(Truncation, LargePoolsTakeFractions) {
  for (const char* selection : {"race", "expert", "le", "bl", "be"}) {
    EXPECT_EQ(layer(std::string("experts = 4\nactive = 2.5\nselection = \"") + selection + "\""),
              "no error");
  }
}

// 2 tokens of 8 experts, one a token: no expert has a whole token of a sample.
TEST(Truncation, PoolsThatKeepNothingAreRefused) {
  EXPECT_THAT(layer("experts = 8\nactive = 1\nselection = \"expert\"", 2),
              HasSubstr("less than one pair of each pool"));
  EXPECT_THAT(layer("experts = 8\nactive = 0.4\nselection = \"le\"", 2),
              HasSubstr("no expert would ever run"));
}

// Known with the batch only: 1 sample of 4 tokens and 8 experts keeps nothing, 16 keep some.
TEST(Truncation, BatchesThatKeepNothingAreRefused) {
  for (const char* selection : {"bl", "be", "race", "diffmoe"}) {
    nn::Module root;
    const auto moe = testing::make<nn::FeedForward>(
        std::string(
            "kind = \"moe\"\nhidden = 4\nrouter = \"linear\"\ngate = \"softmax\"\nexperts = 8\n"
            "active = 0.2\nselection = \"") +
            selection + "\"",
        {.parent = &root, .D = 8, .tokens = 4, .layers = 1});
    root.materialize(/*seed=*/1);
    const at::Tensor x = random_normal({16, 4, 8}, "x");
    EXPECT_THAT(message_of([&] { moe->forward(x.narrow(0, 0, 1), {.training = true}); }),
                HasSubstr("no expert would ever run"))
        << selection;
    EXPECT_EQ(message_of([&] { moe->forward(x, {.training = true}); }), "no error") << selection;
    EXPECT_EQ(message_of([&] { moe->forward(x.narrow(0, 0, 0), {.training = true}); }), "no error")
        << selection;
  }
}

// The recipe of the report, and a run of it.
TEST(Truncation, ARunWithHalfAnExpertDoesNotStart) {
  const test::TemporaryDirectory folder;
  const std::string message = message_of([&] {
    training::Trainer(training::recipe_in(
        folder / "run", {"model.mlp={kind=\"moe\",setting=\"\",experts=4,active=0.5,"
                         "selection=\"grouped\",gate=\"sigmoid\",hidden=16}"}));
  });
  EXPECT_THAT(message, AllOf(HasSubstr("blocks.0.moe.router"), HasSubstr("got 0.5 active")));
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
}

// A block with a share of the tokens works on one of them at least.
TEST(Truncation, AShareIsATokenAtLeast) {
  const at::Tensor x = random_normal({2, 4, 4}, "x");
  for (const char* toml : {"kind = \"mod\"\nshare = 0.1", "kind = \"p_mod\"\nshare = 0.16"}) {
    nn::Module root;
    const auto routing = testing::make<blocks::BlockRouting>(
        toml, {.parent = &root, .D = 4, .tokens = 4, .index = 1, .blocks = 3});
    root.materialize(/*seed=*/1);
    int64_t worked_on = 0;
    routing->forward(
        x, testing::plain_body([&](const at::Tensor& x_BKD, const at::Tensor&, const at::Tensor&) {
          worked_on = x_BKD.size(1);
          return x_BKD;
        }),
        {});
    EXPECT_EQ(worked_on, 1) << toml;
  }
  nn::Module root;
  EXPECT_THAT(message_of([&] {
                testing::make<blocks::BlockRouting>("kind = \"mod\"\nshare = 0",
                                                    {.parent = &root, .D = 4, .tokens = 4});
              }),
              HasSubstr("no token at all"));
}

TEST(Truncation, ADenseLayerHasAHiddenUnit) {
  nn::Module root;
  EXPECT_THAT(message_of([&] {
                testing::make<nn::FeedForward>("kind = \"dense\"\nratio = 0.01",
                                               {.parent = &root, .D = 8, .tokens = 4, .layers = 1});
              }),
              HasSubstr("leaves no hidden unit"));
}

// A factor that no number of places can hold.
TEST(Truncation, ACapacityOfAnySizeIsWhatThereIs) {
  CapacitySettings settings;
  settings.factor = 1e300;
  for (const char* rounding : {"tutel", "deepspeed", "floor"}) {
    settings.rounding = rounding;
    EXPECT_EQ(settings.capacity(12, 4, 2), 24) << rounding;
  }
}

TEST(Truncation, TheLoadLossNeedsWholeChoices) {
  const at::Tensor logits = random_normal({1, 4, 4}, "load");
  const Scores scores = testing::scores_of("softmax", logits);
  const auto message = [&](double active) {
    RoutingRecord record =
        testing::record_of(scores, {.pairs = Pairs::of_mask(logits.gt(0))}, active);
    record.extras = {{"clean_logits", logits}, {"noise_scale", logits.abs().add(1)}};
    return message_of([&] { testing::loss_of("load", record); });
  };
  EXPECT_THAT(message(0.5), HasSubstr("loss load"));
  EXPECT_THAT(message(2.5), HasSubstr("loss load"));
  EXPECT_EQ(message(2), "no error");
}

}  // namespace
}  // namespace gallop::sparse
