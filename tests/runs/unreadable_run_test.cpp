#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/json.h"
#include "gallop/data/loader.h"
#include "gallop/formats/image.h"
#include "gallop/training/trainer.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::runs {
namespace {

using training::Ended;
using training::expect_equal_weights;
using training::log_lines;
using training::logged;
using training::message_of;
using training::put;
using training::recipe_in;
using training::Trainer;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t count = 16;

// A run on a folder of pictures, some of which cannot be read.
class UnreadableSamples : public ::testing::Test {
 protected:
  UnreadableSamples() {
    for (const char* split : {"train", "test"}) {
      fs::create_directories(folder_ / "data" / split);
      for (int64_t i = 0; i < count; ++i) {
        write_png(file(split, i), formats::Image{8, 8, 1, std::vector<uint8_t>(64, 9)});
      }
    }
  }
  fs::path file(const std::string& split, int64_t index) const {
    return folder_ / "data" / split / (std::to_string(100 + index) + ".png");
  }
  Recipe recipe(const std::string& out, std::vector<std::string> overrides = {}) const {
    overrides.insert(overrides.begin(),
                     "data.source={kind=\"folder\", channels=1, size=8, path=\"" +
                         (folder_ / "data").string() + "\"}");
    overrides.insert(overrides.end(), {"train.batch=2", "train.steps=20", "eval.samples=16",
                                       "eval.every=10", "log.every=1"});
    return recipe_in(folder_ / out, overrides);
  }
  /// The sample that step `step` (from 0) takes first.
  static int64_t taken_at(int64_t step) { return data::Order(count, 5).at(2 * step); }
  test::TemporaryDirectory folder_;
};

TEST_F(UnreadableSamples, EndTheRunWhichIsSavedFirst) {
  const int64_t bad = taken_at(3);
  ASSERT_NE(bad, 0);
  put(file("train", bad), "no picture");
  const auto expect_end = [&] {
    EXPECT_THAT(
        message_of([&] { Trainer(recipe("run")).run(); }),
        AllOf(HasSubstr(file("train", bad).string()), HasSubstr("--set data.on_error=skip")));
    EXPECT_EQ(CheckpointStore(folder_ / "run", {}).newest()->step, 3);
  };
  expect_end();
  expect_end();  // at the same place, and nothing is lost

  // The hint is the way on, without --allow.
  ::testing::internal::CaptureStderr();
  Trainer trainer(recipe("run", {"data.on_error=skip"}));
  EXPECT_EQ(trainer.state().step, 3);
  EXPECT_EQ(trainer.run(), Ended::finished);
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.find(file("train", bad).string()), text.rfind(file("train", bad).string()))
      << "named once: " << text;
  EXPECT_GE(trainer.state().replaced, 2) << "in each of two epochs";
  std::vector<double> logged_counts;
  for (const std::string& line : log_lines(folder_ / "run")) {
    const Json json = Json::parse(line);
    const Json* count = json.find("replaced");
    if (count != nullptr) logged_counts.push_back(count->as_double());
  }
  ASSERT_EQ(logged_counts.size(), 17U) << "from the step that met it on";
  EXPECT_EQ(logged_counts.front(), 1);
  EXPECT_EQ(logged_counts.back(), static_cast<double>(trainer.state().replaced));
  EXPECT_EQ(RunState::from_json(trainer.state().to_json()).replaced, trainer.state().replaced);
}

TEST_F(UnreadableSamples, LeaveNothingToSaveBeforeTheFirstStep) {
  const int64_t bad = taken_at(0);
  put(file("train", bad), "no picture");
  EXPECT_THAT(message_of([&] { Trainer(recipe("run", {"data.workers=2"})).run(); }),
              HasSubstr(file("train", bad).string()));
  EXPECT_FALSE(CheckpointStore(folder_ / "run", {}).newest().has_value());
}

TEST_F(UnreadableSamples, AreReplacedByTheSameInEverySession) {
  put(file("train", taken_at(3)), "no picture");
  put(file("train", 0), "");  // the first, whose size is that of all
  const std::vector<std::string> skip = {"data.on_error=skip"};
  Trainer whole(recipe("whole", skip));
  whole.run();
  for (const int64_t stop : {2, 4, 5, 11}) Trainer(recipe("parts", skip)).run(stop);
  Trainer last(recipe("parts", skip));
  last.run();
  EXPECT_EQ(log_lines(folder_ / "parts"), log_lines(folder_ / "whole"));
  EXPECT_EQ(last.state().replaced, whole.state().replaced);
  expect_equal_weights(last.model(), whole.model());
}

TEST_F(UnreadableSamples, OfTheHeldOutSplitAreCountedToo) {
  put(file("test", 5), "no picture");
  EXPECT_THAT(message_of([&] { Trainer(recipe("run")).run(); }),
              AllOf(HasSubstr(file("test", 5).string()), HasSubstr("of the test split")));
  EXPECT_EQ(CheckpointStore(folder_ / "run", {}).newest()->step, 10);
  ::testing::internal::CaptureStderr();
  Trainer(recipe("run", {"data.on_error=skip"})).run();
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("1 of the samples could not be read"));
  EXPECT_EQ(logged(folder_ / "run", "eval", "replaced"), (std::vector<double>{1, 1}));
}

// Pictures of another size are a mistake of the recipe, not damage: told when the data are opened.
TEST_F(UnreadableSamples, AreNotThoseOfAnotherSize) {
  write_png(file("train", count - 1), formats::Image{9, 8, 1, std::vector<uint8_t>(72, 9)});
  EXPECT_THAT(
      message_of([&] { Trainer(recipe("run", {"data.on_error=skip", "data.source.size=0"})); }),
      HasSubstr("data.source.size"));
}

// The state is saved after any error between two steps; one that cannot be saved is told, too.
TEST_F(UnreadableSamples, ThatCannotBeSavedAreStillWhatEndsTheRun) {
  const int64_t bad = taken_at(3);
  put(file("train", bad), "no picture");
  Trainer trainer(recipe("run", {"checkpoint.every=1000", "eval.every=0"}));
  test::FailingFileSystem full(test::FailingFileSystem::Fault::stay_full, 0);
  ::testing::internal::CaptureStderr();
  std::string error;
  {
    const auto guard = replace_file_system(full);
    error = message_of([&] { trainer.run(); });
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(error, HasSubstr(file("train", bad).string()));
  EXPECT_THAT(text, AllOf(HasSubstr("step 3 could not be saved on the way out"),
                          Not(HasSubstr("can still be used"))));
}

}  // namespace
}  // namespace gallop::runs
