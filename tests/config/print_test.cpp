#include "gallop/config/print.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gallop/config/parse.h"
#include "gallop/config/value.h"
#include "tests/config/sample_recipe.h"

namespace gallop::config {
namespace {

using sample::Recipe;
using sample::TokenSettings;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Recipe unusual() {
  Recipe recipe;
  recipe.name = "quote \" back \\ tab \t line \n bell \a del \x7f \xc3\xa9";
  recipe.seed = std::numeric_limits<int64_t>::min();
  recipe.model.ratio = 1.0 / 3.0;
  recipe.model.mlp.selection.choose("token");
  auto& token = recipe.model.mlp.selection.as<TokenSettings>();
  token.capacity = 3;
  token.limits.most = 5;
  token.inner.choose("token");
  token.inner.as<TokenSettings>().inner.choose("plain");
  recipe.train.lr = 1e-300;
  recipe.train.milestones = {1, 2, 3};
  recipe.train.betas = {0.1, 1.0, 5e-324};
  recipe.train.frozen = {"a", "b \"c\""};
  return recipe;
}

TEST(Print, LoadsBackToTheSame) {
  for (const bool comments : {false, true}) {
    for (Recipe recipe : {Recipe{}, unusual()}) {
      const auto text = to_toml(recipe, comments);
      Recipe back = unusual();
      back.model.ratio.reset();
      if (recipe.model.mlp.selection.kind() == "race") back = Recipe{};
      load_text(back, text, "printed.toml");
      EXPECT_THAT(differences(recipe, back), IsEmpty()) << text;
      EXPECT_EQ(to_toml(back, comments), text);
      EXPECT_EQ(back.name, recipe.name);
      EXPECT_EQ(back.seed, recipe.seed);
      EXPECT_EQ(back.train.betas, recipe.train.betas);
      EXPECT_EQ(back.train.frozen, recipe.train.frozen);
    }
  }
}

TEST(Print, PutsPlainFieldsFirstAndAbsentOptionalsInComments) {
  Recipe recipe;
  const auto text = to_toml(recipe);
  EXPECT_EQ(text, R"(name = "run"
seed = 0

[model]
size = "S/2"
width = 12
heads = 3
# depth = (derived from other fields)
# ratio = (derived from other fields)

[model.mlp]
experts = 8

[model.mlp.selection]
kind = "race"
momentum = 0.99
# start = (derived from other fields)

[train]
batch = 64
lr = 0.001
fused = true
schedule = "cosine"
milestones = []
betas = [0.9, 0.99]
frozen = []
)");
}

TEST(Print, CommentsStandAboveTheirKeys) {
  Recipe recipe;
  const auto text = to_toml(recipe, true);
  EXPECT_THAT(text, HasSubstr("# Samples a step. (>= 1)\nbatch = 64\n"));
  EXPECT_THAT(text, HasSubstr("# The network.\n[model]\n"));
  EXPECT_THAT(text, HasSubstr("(\"constant\" | \"cosine\" | \"linear\")\nschedule = \"cosine\"\n"));
}

TEST(Print, FlatListWorksAsOverrides) {
  Recipe recipe = unusual();
  std::vector<std::string> overrides;
  for (const auto& [key, value] : flatten(recipe)) {
    if (!value.empty()) overrides.push_back(key + "=" + value);
  }
  Recipe back;
  load_text(back, "", "empty.toml", overrides);
  EXPECT_THAT(differences(recipe, back), IsEmpty());
}

std::vector<std::string> difference_lines(Recipe& before, Recipe& after) {
  std::vector<std::string> lines;
  for (const Difference& difference : differences(before, after))
    lines.push_back(difference.line());
  return lines;
}

// An effect holds for the fields that follow in the struct, and for those below them that say
// nothing of their own.
struct InnerEffects : Fields<InnerEffects> {
  int64_t a = 0, b = 0;
  void fields(Visitor& v) override {
    v.field("a", a, "As the field that holds this.");
    v.effect(Effect::free);
    v.field("b", b, "Free everywhere.");
  }
};
struct Effects : Fields<Effects> {
  int64_t first = 0, second = 0, last = 0;
  InnerEffects inner;
  void fields(Visitor& v) override {
    v.field("first", first, "Free.");
    v.effect(Effect::state);
    v.field("second", second, "State.");
    v.table("inner", inner, "State at its beginning.");
    v.field("last", last, "State still.");
  }
};

TEST(Print, DifferencesKnowWhatTheyDoToARun) {
  Effects before, after;
  after.first = after.second = after.last = after.inner.a = after.inner.b = 1;
  std::string state;
  for (const Difference& difference : differences(before, after)) {
    state += difference.effect == Effect::state ? difference.key + " " : "";
  }
  EXPECT_EQ(state, "second inner.a last ");
}

TEST(Print, DifferencesNameKeyAndBothValues) {
  Recipe before, after;
  after.train.lr = 0.002;
  after.model.depth = 3;
  after.model.mlp.selection.choose("plain");
  EXPECT_THAT(
      difference_lines(before, after),
      ElementsAre("model.depth: (none) -> 3", "model.mlp.selection: \"race\" -> \"plain\"",
                  "model.mlp.selection.momentum: 0.99 -> (none)", "train.lr: 0.001 -> 0.002"));
  EXPECT_THAT(
      difference_lines(after, before),
      ElementsAre("model.depth: 3 -> (none)", "model.mlp.selection: \"plain\" -> \"race\"",
                  "train.lr: 0.002 -> 0.001", "model.mlp.selection.momentum: (none) -> 0.99"));
}

TEST(Value, FloatsAreShortAndLookLikeFloats) {
  EXPECT_EQ(to_text(1.0), "1.0");
  EXPECT_EQ(to_text(-0.0), "-0.0");
  EXPECT_EQ(to_text(0.1), "0.1");
  EXPECT_EQ(to_text(1e-4), "1e-4");
  EXPECT_EQ(to_text(1e22), "1e22");
  EXPECT_EQ(to_text(1.5e-10), "1.5e-10");
  EXPECT_EQ(to_text(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(to_text(-std::numeric_limits<double>::infinity()), "-inf");
  EXPECT_EQ(to_text(std::nan("")), "nan");
}

TEST(Value, RangesInWords) {
  EXPECT_EQ(to_text(Range{}), "");
  EXPECT_EQ(to_text(at_least(1)), ">= 1");
  EXPECT_EQ(to_text(between(0, 0.5)), "0 to 0.5");
  EXPECT_EQ(to_text(positive()), "> 0");
  EXPECT_EQ(to_text(Range{.min = 0, .max = 1, .open_min = true}), "> 0 and <= 1");
  EXPECT_EQ(to_text(Range{.max = 2}), "<= 2");
  EXPECT_TRUE(contains(between(0, 1), 0));
  EXPECT_FALSE(contains(positive(), 0));
  EXPECT_FALSE(contains(Range{}, std::nan("")));
}

TEST(Value, WrapsAtSpaces) {
  EXPECT_THAT(wrap("aa bb cc", 5), ElementsAre("aa bb", "cc"));
  EXPECT_THAT(wrap("aaaaaaa b", 3), ElementsAre("aaaaaaa", "b"));
  EXPECT_THAT(wrap("", 3), ElementsAre(""));
}

}  // namespace
}  // namespace gallop::config
