// What a model takes is known without its data, where the weights or the recipe say it.
#include "gallop/runs/known_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/config/parse.h"
#include "gallop/runs/restore.h"
#include "tests/support/errors.h"

namespace gallop::runs {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using ::testing::Not;

Recipe recipe_of(const std::string& text) {
  Recipe recipe;
  recipe.names_data =
      config::is_stated(config::load_text(recipe, text, "recipe.toml"), "data.source");
  return recipe;
}

constexpr const char* sizes = "model = { channels = 3, image = 16, classes = 2 }\n";

TEST(KnownData, TheMetadataOfTheWeightsCountFirst) {
  Recipe recipe = recipe_of(sizes);
  const data::DatasetInfo stated{.kind = "folder",
                                 .channels = 1,
                                 .height = 8,
                                 .width = 8,
                                 .classes = 3,
                                 .class_names = {"a", "b", "c"}};
  const auto known = known_data({{"data", to_metadata(stated)}}, recipe);
  ASSERT_TRUE(known);
  EXPECT_EQ(known->channels, 1);
  EXPECT_THAT(known->class_names, ElementsAre("a", "b", "c"));
}

TEST(KnownData, ElseTheSizesOfTheRecipe) {
  Recipe recipe = recipe_of(sizes);
  const auto known = known_data({}, recipe);
  ASSERT_TRUE(known);
  EXPECT_EQ(known->channels, 3);
  EXPECT_EQ(known->height, 16);
  EXPECT_EQ(known->width, 16);
  EXPECT_EQ(known->classes, 2);
  EXPECT_THAT(known->class_names, IsEmpty());
  EXPECT_FALSE(known->latent);
}

TEST(KnownData, NamesOfClassesComeFromTheRecipeOrTheMetadata) {
  Recipe recipe = recipe_of(
      std::string(sizes) +
      "data.source = { kind = 'idx', path = 'nowhere', class_names = ['cat, big', 'dog'] }\n");
  EXPECT_THAT(known_data({}, recipe)->class_names, ElementsAre("cat, big", "dog"));
  EXPECT_THAT(known_data({{"class_names", R"(["x", "y"])"}}, recipe)->class_names,
              ElementsAre("x", "y"));
  EXPECT_THAT(known_data({{"class_names", R"(["x", "y", "z"])"}}, recipe)->class_names, IsEmpty());
}

TEST(KnownData, LatentsAreToldByTheirKindOrTheirChannels) {
  const std::string four = "model = { channels = 4, image = 16, classes = 2 }\n";
  Recipe unnamed = recipe_of(four);
  EXPECT_TRUE(known_data({}, unnamed)->latent);
  Recipe latents = recipe_of(four + "data.source = { kind = 'latents', path = 'nowhere' }\n");
  EXPECT_TRUE(known_data({}, latents)->latent);
  Recipe images = recipe_of(std::string(sizes) + "data.source = { kind = 'folder' }\n");
  EXPECT_FALSE(known_data({}, images)->latent);
}

TEST(KnownData, NoDataSetStandsInForAnother) {
  Recipe nothing = recipe_of("model = { channels = 3, image = 16 }\n");
  EXPECT_THAT(message_of([&] { known_data({}, nothing); }),
              AllOf(HasSubstr("nor states model.classes"), Not(HasSubstr("model.image,"))));
  Recipe named = recipe_of("data.source = { kind = 'idx', path = 'nowhere' }\n");
  EXPECT_FALSE(known_data({}, named)) << "the data can be asked";
}

TEST(KnownData, WhatNeedsTheDataSaysSoWhereTheRecipeNamesNone) {
  Recipe recipe = recipe_of(
      "model = { channels = 1, image = 28, classes = 10, size = 'S/4', depth = 1,"
      " width = 16, heads = 2 }\n");
  const auto task = make_task(recipe, known_data({}, recipe));
  const auto model = task->make_model();
  EXPECT_EQ(model->args().classes, 10);
  model->materialize(0);
  EXPECT_THAT(message_of([&] { task->evaluate(*model); }),
              HasSubstr("this needs the data, and the recipe names none"));
  EXPECT_THAT(message_of([&] {
                task->route(*model, 1, tasks::Task::Routing::inference, [](const auto&) {});
              }),
              HasSubstr("--set data.source.kind="));
}

}  // namespace
}  // namespace gallop::runs
