#include "gallop/runs/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/file.h"
#include "gallop/base/json.h"
#include "gallop/training/trainer.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::runs {
namespace {

using training::recipe_in;
using training::Trainer;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(RunEnvironment, NamesWhatTheLastBitsDependOn) {
  const Environment environment = environment_of(3, "cpu");
  for (const char* name : {"threads", "cpu", "instructions", "libtorch", "device"}) {
    EXPECT_TRUE(environment.contains(name)) << name;
  }
  EXPECT_EQ(environment.at("threads"), "3");
  EXPECT_EQ(environment.at("device"), "cpu");
}

TEST(RunEnvironment, ComparesWhatBothKnow) {
  const Environment before = {{"threads", "2"}, {"cpu", "x"}, {"of-old", "y"}};
  EXPECT_THAT(differences(before, {{"threads", "1"}, {"cpu", "x"}, {"new", "z"}}),
              ElementsAre("threads: 2 -> 1"));
  EXPECT_THAT(differences({}, before), IsEmpty());
}

TEST(RunEnvironment, AResumeUnderAnotherNumberOfThreadsWarns) {
  const test::TemporaryDirectory folder;
  const auto session = [&](const char* threads, int64_t until) {
    ::testing::internal::CaptureStderr();
    Trainer(recipe_in(folder / "run", {threads, "eval.every=0"})).run(until);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(session("threads=2", 2), Not(HasSubstr("not as before")));
  const Json state =
      Json::parse(read_file(folder / "run/checkpoints/step-00000002/state.json")).at("state");
  EXPECT_EQ(state.at("environment").at("threads").as_string(), "2");
  EXPECT_THAT(session("threads=1", 3), AllOf(HasSubstr("warning: not as before: threads: 2 -> 1"),
                                             HasSubstr("last digits")));
  EXPECT_THAT(session("threads=1", 4), Not(HasSubstr("not as before")));
}

}  // namespace
}  // namespace gallop::runs
