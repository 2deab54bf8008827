// What a model takes is known without its data, where the weights or the recipe say it.
#include "gallop/tasks/images/known_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/config/parse.h"
#include "gallop/runs/restore.h"
#include "gallop/tasks/evaluate.h"
#include "gallop/tasks/images/description.h"
#include "tests/support/errors.h"

namespace gallop::tasks {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using ::testing::Not;

runs::Recipe recipe_of(const std::string& text) { return runs::recipe_in(text, "recipe.toml"); }

std::optional<data::DatasetInfo> known(const formats::Metadata& metadata,
                                       const runs::Recipe& recipe) {
  return known_data(metadata, recipe.task.as<ImageGenerationSettings>(), recipe.names_data);
}

constexpr const char* sizes = "model = { channels = 3, image = 16, classes = 2 }\n";

TEST(KnownData, TheMetadataOfTheWeightsCountFirst) {
  runs::Recipe recipe = recipe_of(sizes);
  const data::DatasetInfo stated{.kind = "folder",
                                 .channels = 1,
                                 .height = 8,
                                 .width = 8,
                                 .classes = 3,
                                 .class_names = {"a", "b", "c"}};
  const auto found = known({{"data", to_json(stated).dump()}}, recipe);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->channels, 1);
  EXPECT_THAT(found->class_names, ElementsAre("a", "b", "c"));
}

TEST(KnownData, ElseTheSizesOfTheRecipe) {
  runs::Recipe recipe = recipe_of(sizes);
  const auto found = known({}, recipe);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->channels, 3);
  EXPECT_EQ(found->height, 16);
  EXPECT_EQ(found->width, 16);
  EXPECT_EQ(found->classes, 2);
  EXPECT_THAT(found->class_names, IsEmpty());
  EXPECT_FALSE(found->latent);
}

TEST(KnownData, NamesOfClassesComeFromTheRecipeOrTheMetadata) {
  runs::Recipe recipe = recipe_of(
      std::string(sizes) +
      "data.source = { kind = 'idx', path = 'nowhere', class_names = ['cat, big', 'dog'] }\n");
  EXPECT_THAT(known({}, recipe)->class_names, ElementsAre("cat, big", "dog"));
  EXPECT_THAT(known({{"class_names", R"(["x", "y"])"}}, recipe)->class_names,
              ElementsAre("x", "y"));
  EXPECT_THAT(known({{"class_names", R"(["x", "y", "z"])"}}, recipe)->class_names, IsEmpty());
}

TEST(KnownData, LatentsAreToldByTheirKindOrTheirChannels) {
  const std::string four = "model = { channels = 4, image = 16, classes = 2 }\n";
  runs::Recipe unnamed = recipe_of(four);
  EXPECT_TRUE(known({}, unnamed)->latent);
  runs::Recipe latents = recipe_of(four + "data.source = { kind = 'latents', path = 'nowhere' }\n");
  EXPECT_TRUE(known({}, latents)->latent);
  runs::Recipe images = recipe_of(std::string(sizes) + "data.source = { kind = 'folder' }\n");
  EXPECT_FALSE(known({}, images)->latent);
}

TEST(KnownData, NoDataSetStandsInForAnother) {
  runs::Recipe nothing = recipe_of("model = { channels = 3, image = 16 }\n");
  EXPECT_THAT(
      message_of([&] { known({}, nothing); }),
      AllOf(HasSubstr("nor states task.model.classes"), Not(HasSubstr("task.model.image,"))));
  runs::Recipe named = recipe_of("data.source = { kind = 'idx', path = 'nowhere' }\n");
  EXPECT_FALSE(known({}, named)) << "the data can be asked";
}

TEST(KnownData, WhatNeedsTheDataSaysSoWhereTheRecipeNamesNone) {
  runs::Recipe recipe = recipe_of(
      "model = { channels = 1, image = 28, classes = 10, size = 'S/4', depth = 1,"
      " width = 16, heads = 2 }\n");
  const auto task = runs::make_task(recipe, formats::Metadata());
  const auto model = task->make_model();
  model->materialize(0);
  EXPECT_THAT(message_of([&] { evaluate(*task, *model); }),
              HasSubstr("this needs the data, and the recipe names none"));
  EXPECT_THAT(
      message_of([&] { calibration_run(*task, *model, {.training = false}, [](const auto&) {}); }),
      HasSubstr("--set task.data.source.kind="));
}

}  // namespace
}  // namespace gallop::tasks
