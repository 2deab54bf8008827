// Overrides of a recipe are one source: first the kinds, then their settings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "gallop/config/follow.h"
#include "gallop/config/parse.h"
#include "gallop/config/print.h"
#include "gallop/config/value.h"
#include "tests/config/sample_recipe.h"
#include "tests/support/errors.h"

namespace gallop::config {
namespace {

using gallop::testing::message_of;
using sample::RaceSettings;
using sample::Recipe;
using sample::TokenSettings;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

Recipe read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Recipe recipe;
  load_text(recipe, text, "r.toml", overrides);
  return recipe;
}

std::string error_in(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return message_of([&] { read(text, overrides); });
}

TEST(Overrides, ASettingThatStandsBeforeItsKindCounts) {
  const Component selection =
      read("", {"model.mlp.selection.capacity=3", "model.mlp.selection=token"}).model.mlp.selection;
  EXPECT_EQ(selection.as<TokenSettings>().capacity, 3);
  const Component inner =
      read("", {"model.mlp.selection.inner.capacity=5", "model.mlp.selection.inner=token",
                "model.mlp.selection={kind=\"token\",capacity=4}"})
          .model.mlp.selection;
  EXPECT_EQ(inner.as<TokenSettings>().capacity, 4);
  EXPECT_EQ(inner.as<TokenSettings>().inner.as<TokenSettings>().capacity, 5);
}

TEST(Overrides, ASettingOfAKindThatIsReplacedIsAnError) {
  for (const auto& overrides : std::vector<std::vector<std::string>>{
           {"model.mlp.selection.momentum=0.5", "model.mlp.selection=token"},
           {"model.mlp.selection=token", "model.mlp.selection.momentum=0.5"},
           {"model.mlp.selection={kind=\"race\",momentum=0.5}", "model.mlp.selection.kind=token"}})
    EXPECT_THAT(error_in("", overrides),
                AllOf(HasSubstr("unknown key momentum"), HasSubstr("(test_chooser 'token')")))
        << overrides[0];
}

TEST(Overrides, OfTwoForOneKeyTheLaterCounts) {
  EXPECT_EQ(read("", {"train.batch=3", "train.batch=4"}).train.batch, 4);
  EXPECT_EQ(read("", {"train={batch=3,lr=0.5}", "train.batch=4"}).train.lr, 0.5);
  EXPECT_EQ(read("", {"train={batch=3,lr=0.5}", "train.batch=4"}).train.batch, 4);
  EXPECT_THAT(error_in("", {"train.batch=3", "train.batch.x=4"}), HasSubstr("expects an integer"));
}

TEST(Overrides, WhatIsFlattenedMakesTheSameAgain) {
  Recipe recipe = read("[model.mlp.selection]\nkind = 'token'\ncapacity = 3\ninner = 'plain'\n");
  std::vector<std::string> overrides;
  for (const auto& [key, value] : flatten(recipe)) {
    if (!value.empty()) overrides.push_back(key + "=" + value);
  }
  Recipe again = read("", overrides);
  EXPECT_EQ(to_toml(again), to_toml(recipe));
}

TEST(Overrides, SayWhatOfTheRecipeTheyReplace) {
  ::testing::internal::CaptureStderr();
  read("[model.mlp.selection]\nkind = 'race'\nmomentum = 0.5\n", {"model.mlp.selection=token"});
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("'race' of the recipe is replaced"), HasSubstr("momentum = 0.5")));
  ::testing::internal::CaptureStderr();
  read("model.mlp.selection.kind = 'race'", {"model.mlp.selection=token"});
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "") << "nothing is lost";
}

TEST(StatedKeys, AreThoseOfTheFileAndTheOverrides) {
  Recipe recipe;
  const auto paths = load_text(recipe, "seed = 3\n[model]\ndepth = 2\nmlp.selection = 'token'\n",
                               "r.toml", {"train={batch=3,lr=0.5}"});
  EXPECT_THAT(paths, UnorderedElementsAre("seed", "model.depth", "model.mlp.selection",
                                          "train.batch", "train.lr"));
  EXPECT_TRUE(is_stated(paths, "model.mlp"));
  EXPECT_TRUE(is_stated(paths, "train.batch"));
  EXPECT_FALSE(is_stated(paths, "model.dep"));
  EXPECT_FALSE(is_stated(paths, "train.betas"));
  EXPECT_THAT(keys_of_overrides({"a.b=1", "a={c=2}", "d=x"}),
              UnorderedElementsAre("a.b", "a.c", "d"));
}

TEST(Finite, InfinitiesAreRefused) {
  EXPECT_EQ(error_in("train.lr = inf"), "r.toml:1:12: train.lr = inf: must be finite and > 0");
  EXPECT_THAT(error_in("model.ratio = +inf"), HasSubstr("must be finite and > 0"));
  EXPECT_THAT(error_in("", {"train.betas=[0.5, -inf]"}), HasSubstr("must be finite and 0 to 1"));
  EXPECT_THAT(error_in("", {"train.lr=nan"}), HasSubstr("out of range"));
  constexpr double infinity = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(contains(Range{}, infinity));
  EXPECT_FALSE(contains(at_least(0), infinity));
}

TEST(WholeNumbers, OfOverridesAreDecimalAndFitTheirType) {
  EXPECT_EQ(read("", {"seed=010"}).seed, 10);
  EXPECT_EQ(read("", {"name=010"}).name, "010");
  EXPECT_EQ(read("", {"seed=9223372036854775807"}).seed, std::numeric_limits<int64_t>::max());
  EXPECT_THAT(error_in("", {"seed=9223372036854775808"}), HasSubstr("and below 2^63"));
  EXPECT_THAT(error_in("", {"train.batch=99999999999999999999"}),
              HasSubstr("out of range, must be >= 1 and below 2^63"));
  EXPECT_THAT(error_in("", {"seed=-"}), HasSubstr("expects an integer, not a string"));
}

TEST(Ranges, AnEndAtTheLargestDoubleIsNoBound) {
  constexpr double largest = std::numeric_limits<double>::max();
  EXPECT_EQ(to_text(between(0, largest)), ">= 0");
  EXPECT_EQ(to_text(between(-largest, 3)), "<= 3");
  EXPECT_EQ(to_text(between(-largest, largest)), "");
  EXPECT_EQ(to_text(Range{.min = 0, .max = largest, .open_min = true}), "> 0");
}

// ---- two keys that say one thing ---------------------------------------------------------------

/// `size` is short for width and height.
struct Box : Fields<Box>, Follows {
  std::string size;
  int64_t width = 1, height = 1;
  void fields(Visitor& v) override {
    v.field("size", size, "short for width and height");
    v.field("width", width, "columns");
    v.field("height", height, "rows");
  }
  std::string follow(const Stated& stated) override {
    sources.push_back(stated);
    return stated.has("size") && stated.has("width") ? "width is ignored" : "";
  }
  std::vector<Stated> sources;
};

struct Boxes : Fields<Boxes> {
  Box box;
  void fields(Visitor& v) override { v.table("box", box, "a box"); }
};

TEST(Follow, IsCalledOnceASourceWithItsKeys) {
  Boxes boxes;
  ::testing::internal::CaptureStderr();
  load_text(boxes, "[box]\nsize = 'a'\nwidth = 2\n", "b.toml", {"box.width=3", "box.height=4"});
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("b.toml:1:"), HasSubstr("[box]: width is ignored")));
  ASSERT_EQ(boxes.box.sources.size(), 2u);
  EXPECT_TRUE(boxes.box.sources[0].in_file);
  EXPECT_THAT(boxes.box.sources[0].keys, UnorderedElementsAre("size", "width"));
  EXPECT_FALSE(boxes.box.sources[1].in_file);
  EXPECT_THAT(boxes.box.sources[1].keys, UnorderedElementsAre("width", "height"));
}

}  // namespace
}  // namespace gallop::config
