#include "gallop/runs/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/formats/event_file.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/read_only.h"
#include "tests/support/temporary_directory.h"

namespace gallop::runs {
namespace {

using test::FailingFileSystem;
using test::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Fault = FailingFileSystem::Fault;

std::vector<Json> lines_of(const TemporaryDirectory& run) {
  std::vector<Json> lines;
  std::istringstream text(read_file(run / "log.jsonl"));
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line, "line"));
  return lines;
}

/// (step, loss) of every line.
std::vector<std::pair<int64_t, double>> losses_of(const TemporaryDirectory& run) {
  std::vector<std::pair<int64_t, double>> losses;
  for (const Json& line : lines_of(run)) {
    losses.emplace_back(line.at("step").as_int(), line.at("loss").as_double());
  }
  return losses;
}

/// All events of the run's files in the order in which TensorBoard reads them, without what a
/// restart makes void.
std::vector<formats::Event> events_of(const TemporaryDirectory& run) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(run.path())) {
    if (entry.path().filename().string().starts_with("events.")) {
      paths.push_back(entry.path().string());
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<formats::Event> events;
  for (const std::string& path : paths) {
    for (const formats::Event& event : formats::read_events(path)) {
      if (event.restart) {
        std::erase_if(events, [&](const formats::Event& e) { return e.step >= event.step; });
      } else if (!event.values.empty()) {
        events.push_back(event);
      }
    }
  }
  return events;
}

void write_losses(RunLog& log, std::initializer_list<int64_t> steps, double offset) {
  for (const int64_t step : steps) {
    log.write(step, "train", {{"loss", static_cast<double>(step) + offset}});
  }
}

TEST(RunLog, OneLineACallAndTheSameScalars) {
  TemporaryDirectory run;
  {
    RunLog log(run.path(), {});
    log.write(20, "train", {{"loss", 0.5}, {"lr", 1e-3}});
    log.write(20, "eval", {{"loss", std::numeric_limits<double>::quiet_NaN()}});
    log.artifact(20, {"recipe", formats::Text{"name = \"x\""}});
    log.artifact(20, {"samples",
                      formats::Image{.width = 2, .height = 1, .channels = 1, .pixels = {0, 255}}});
  }
  const auto lines = lines_of(run);
  ASSERT_EQ(lines.size(), 2);
  std::vector<std::string> keys;
  for (const auto& [key, value] : lines[0].as_object()) keys.push_back(key);
  EXPECT_THAT(keys, ElementsAre("step", "time", "kind", "loss", "lr"));
  EXPECT_EQ(lines[0].at("step").as_int(), 20);
  EXPECT_EQ(lines[0].at("kind").as_string(), "train");
  EXPECT_EQ(lines[0].at("lr").as_double(), 1e-3);
  EXPECT_GT(lines[0].at("time").as_double(), 1.7e9);
  EXPECT_TRUE(lines[1].at("loss").is_null());

  const auto events = events_of(run);
  ASSERT_EQ(events.size(), 4);
  ASSERT_EQ(events[0].values.size(), 2);
  EXPECT_EQ(events[0].step, 20);
  EXPECT_EQ(events[0].values[0].tag, "train/loss");
  EXPECT_EQ(events[0].values[0].scalar, 0.5F);
  EXPECT_EQ(events[1].values[0].tag, "eval/loss");
  EXPECT_EQ(events[2].values[0].text, "name = \"x\"");
  ASSERT_TRUE(events[3].values[0].image.has_value());
  EXPECT_EQ(events[3].values[0].image->width, 2);
  EXPECT_THAT(events[3].values[0].image->png, StartsWith("\x89PNG"));
}

TEST(RunLog, LinesAreThereAtOnce) {
  TemporaryDirectory run;
  RunLog log(run.path(), {});
  write_losses(log, {1}, 0);
  EXPECT_EQ(lines_of(run).size(), 1);
}

TEST(RunLog, WithoutTensorBoardThereAreNoEvents) {
  TemporaryDirectory run;
  RunLog log(run.path(), {.tensorboard = false});
  write_losses(log, {1}, 0);
  log.artifact(1, {"recipe", formats::Text{"x"}});
  log.artifact(1,
               {"samples", formats::Image{.width = 1, .height = 1, .channels = 1, .pixels = {0}}});
  EXPECT_THAT(events_of(run), IsEmpty());
  EXPECT_EQ(lines_of(run).size(), 1);
}

// Killed after step 50 in the middle of a line, resumed at 30, killed again, resumed at 40.
TEST(RunLog, AResumedRunReadsAsOne) {
  TemporaryDirectory run;
  {
    RunLog log(run.path(), {});
    write_losses(log, {10, 20, 30, 40, 50}, 0);
  }
  std::ofstream(run / "log.jsonl", std::ios::app) << R"({"step":60,"time":17)";
  {
    RunLog log(run.path(), {.resumed_step = 30});
    write_losses(log, {40, 50}, 0.5);
  }
  {
    RunLog log(run.path(), {.resumed_step = 40});
    write_losses(log, {50}, 0.25);
  }
  const std::vector<std::pair<int64_t, double>> want{
      {10, 10}, {20, 20}, {30, 30}, {40, 40.5}, {50, 50.25}};
  EXPECT_EQ(losses_of(run), want);
  std::vector<std::pair<int64_t, double>> shown;
  for (const formats::Event& event : events_of(run)) {
    shown.emplace_back(event.step, *event.values.at(0).scalar);
  }
  EXPECT_EQ(shown, want);
}

TEST(RunLog, ALineCutShortByAKillIsDropped) {
  TemporaryDirectory run;
  {
    RunLog log(run.path(), {});
  }
  // Step 4 would be "step 40" with the rest of its line; a line without its end may be anything.
  std::ofstream(run / "log.jsonl") << "{\"step\":3,\"loss\":1}\n{\"step\":4";
  {
    RunLog log(run.path(), {.resumed_step = 100});
    write_losses(log, {101}, 0);
  }
  const std::vector<std::pair<int64_t, double>> want{{3, 1}, {101, 101}};
  EXPECT_EQ(losses_of(run), want);
}

TEST(RunLog, AFreshRunDropsWhatAKilledOneLeft) {
  TemporaryDirectory run;
  {
    RunLog log(run.path(), {});
    write_losses(log, {0, 10}, 0);
  }
  RunLog log(run.path(), {});
  EXPECT_THAT(lines_of(run), IsEmpty());
  EXPECT_THAT(events_of(run), IsEmpty());
}

// A full disk at any call: the error says so, what is in the file stays whole, and once there is
// room again the log goes on.
TEST(RunLog, AWriteThatFailedIsMended) {
  for (const Fault fault : {Fault::fail, Fault::shorten}) {
    for (size_t n = 0; n < 6; ++n) {
      TemporaryDirectory run;
      FailingFileSystem failing(fault, n);
      const auto guard = replace_file_system(failing);
      std::vector<std::pair<int64_t, double>> want;
      try {
        RunLog log(run.path(), {.tensorboard = false});
        for (const int64_t step : {1, 2, 3, 4}) {
          try {
            write_losses(log, {step}, 0);
            want.emplace_back(step, step);
          } catch (const Error& error) {
            EXPECT_THAT(error.what(), ::testing::HasSubstr("made up"));
          }
        }
        EXPECT_GE(want.size(), 3);
        write_losses(log, {5}, 0);
        want.emplace_back(5, 5);
      } catch (const Error& error) {
        EXPECT_LT(n, 2) << error.what();
        continue;
      }
      EXPECT_EQ(losses_of(run), want) << "call " << n << " of fault " << static_cast<int>(fault);
    }
  }
}

TEST(RunLog, AReadOnlyRunDirectoryIsNamed) {
  TemporaryDirectory run;
  const test::ReadOnlyFolder guard(run.path());
  try {
    RunLog log(run.path(), {});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::AllOf(::testing::HasSubstr((run / "log.jsonl").string()),
                                               ::testing::HasSubstr("Permission denied")));
  }
}

TEST(RunLog, SyncMakesLinesDurable) {
  TemporaryDirectory run;
  FailingFileSystem counting;
  const auto guard = replace_file_system(counting);
  RunLog log(run.path(), {.tensorboard = false});
  write_losses(log, {1}, 0);
  log.sync();
  EXPECT_EQ(counting.log().back(), "sync log.jsonl");
}

}  // namespace
}  // namespace gallop::runs
