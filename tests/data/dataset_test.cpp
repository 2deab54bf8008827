#include "gallop/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/config/parse.h"
#include "tests/data/counting_dataset.h"

namespace gallop::data {
namespace {

using test::CountingSettings;
using testing::HasSubstr;

DataConfig counting() {
  DataConfig config;
  config.source.choose("test-counting");
  return config;
}

std::string error_of(const DataConfig& config, const Dataset::Args& args) {
  try {
    open_dataset(config, args);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(OpenDataset, IsOfTheKindThatTheRecipeNames) {
  DataConfig config;
  config::load_text(config,
                    "flip = true\nworkers = 2\nqueue = 8\n"
                    "source = { kind = \"test-counting\", count = 3 }",
                    "a recipe");
  EXPECT_TRUE(config.flip);
  EXPECT_EQ(config.workers, 2);
  EXPECT_EQ(config.queue, 8);
  const auto dataset = open_dataset(config, {.split = "test"});
  EXPECT_EQ(dataset->info().count, 3);
  EXPECT_EQ(dataset->info().path, "test");
  EXPECT_EQ(dataset->label(2), 2);  // through `read`
}

TEST(OpenDataset, RefusesAnUnknownSplit) {
  EXPECT_THAT(error_of(counting(), {.split = "val"}), HasSubstr("'val': train or test"));
}

TEST(OpenDataset, RefusesAnEmptyOne) {
  DataConfig config = counting();
  config.source.as<CountingSettings>().count = 0;
  EXPECT_THAT(error_of(config, {.split = "test"}), HasSubstr("the test split holds no samples"));
}

TEST(OpenDataset, RefusesAnotherSizeThanWanted) {
  EXPECT_EQ(error_of(counting(), {.channels = 1, .height = 2, .width = 3}), "");
  EXPECT_THAT(error_of(counting(), {.height = 4}), HasSubstr("[1, 2, 3]"));
  EXPECT_THAT(error_of(counting(), {.channels = 3}), HasSubstr("[3, 0, 0]"));
}

TEST(OpenDataset, RefusesToFlipLatents) {
  DataConfig config = counting();
  config.source.as<CountingSettings>().latent = true;
  EXPECT_EQ(error_of(config, {}), "");
  config.flip = true;
  EXPECT_THAT(error_of(config, {}), HasSubstr("data.flip = false"));
}

TEST(DataConfig, RefusesNoWorkersAndNoQueue) {
  DataConfig config;
  EXPECT_THROW(config::load_text(config, "workers = 0", "a recipe"), Error);
  EXPECT_THROW(config::load_text(config, "queue = 0", "a recipe"), Error);
}

// x / 127.5 - 1: 0, 51, 255.
TEST(ToUnit, SpansMinusOneToOne) {
  EXPECT_EQ(to_unit(0), -1.0f);
  EXPECT_FLOAT_EQ(to_unit(51), -0.6f);
  EXPECT_EQ(to_unit(255), 1.0f);
}

}  // namespace
}  // namespace gallop::data
