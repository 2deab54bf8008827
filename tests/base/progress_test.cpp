#include "gallop/base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "gallop/base/log.h"

namespace gallop {
namespace {

using Output = ProgressOptions::Output;
using testing::HasSubstr;
using testing::Not;

TEST(RateMeter, ForgetsThePast) {
  RateMeter meter;
  EXPECT_EQ(meter.rate(), 0);
  meter.add(0, 0);
  EXPECT_EQ(meter.rate(), 0);
  int64_t done = 0;
  for (int t = 1; t <= 100; ++t) meter.add(t, done += 1);
  EXPECT_NEAR(meter.rate(), 1, 1e-9);
  for (int t = 101; t <= 160; ++t) meter.add(t, done += 5);  // faster since a minute
  EXPECT_NEAR(meter.rate(), 5, 0.1);
}

TEST(RateMeter, SlowAndManyFastSteps) {
  RateMeter slow;
  slow.add(0, 0);
  slow.add(300, 1);
  slow.add(600, 2);
  EXPECT_NEAR(slow.rate(), 1 / 300.0, 1e-9);
  RateMeter fast;
  for (int i = 0; i <= 1'000'000; ++i) fast.add(i * 1e-4, i);
  EXPECT_NEAR(fast.rate(), 1e4, 1);
}

/// A progress display with a clock of its own, and what it writes.
class ProgressTest : public testing::Test {
 protected:
  ProgressOptions options(Output output, int width = 100) {
    ProgressOptions o;
    o.label = "train";
    o.unit = "image";
    o.units_per_step = 128;
    o.total = 1600;
    o.output = output;
    o.width = width;
    o.clock = [this] { return now_; };
    return o;
  }
  double now_ = 1000;
};

TEST_F(ProgressTest, LineShowsRateAndTimeLeft) {
  testing::internal::CaptureStderr();
  Progress progress(options(Output::line));
  now_ += 50;
  progress.update(400, "loss 0.253");
  // 8 steps/s * 128 images; 1200 steps left at 8/s = 150 s
  EXPECT_EQ(
      testing::internal::GetCapturedStderr(),
      "train 400/1600 [#####---------------] 25%  1.02k images/s  2 min 30 s left  loss 0.253");
  testing::internal::CaptureStderr();
  now_ += 150;
  progress.update(1600, "loss 0.2");
  testing::internal::GetCapturedStderr();
  testing::internal::CaptureStderr();
  progress.finish();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("\rtrain 1600/1600 100%  1.02k images/s  in 3 min 20 s  loss 0.2\n"));
}

TEST_F(ProgressTest, LineIsDrawnAtMostFiveTimesASecond) {
  testing::internal::CaptureStderr();
  Progress progress(options(Output::line));
  for (int i = 1; i <= 1000; ++i) {
    now_ += 0.001;
    progress.update(i, "n" + std::to_string(i));
  }
  const std::string out = testing::internal::GetCapturedStderr();
  size_t lines = 0;
  for (size_t at = out.find("train"); at != std::string::npos; at = out.find("train", at + 1))
    ++lines;
  EXPECT_GE(lines, 5u);
  EXPECT_LE(lines, 11u);  // a shorter line is written twice
}

TEST_F(ProgressTest, NarrowTerminalLosesTheBarFirst) {
  for (const int width : {1, 10, 40, 70, 90}) {
    testing::internal::CaptureStderr();
    {
      Progress progress(options(Output::line, width));
      now_ += 50;
      progress.update(400, "loss 0.253");
    }
    const std::string out = testing::internal::GetCapturedStderr();
    const std::string line = out.substr(0, out.find('\r'));
    EXPECT_LT(line.size(), static_cast<size_t>(std::max(width, 2))) << line;
    EXPECT_EQ(line.find('#') != std::string::npos, width == 90) << line;
    if (width == 70) {
      EXPECT_THAT(line, HasSubstr("loss 0.253"));
    }
  }
}

TEST_F(ProgressTest, PlainLinesComeSeldom) {
  testing::internal::CaptureStderr();
  {
    Progress progress(options(Output::plain));
    for (int i = 1; i <= 100; ++i) {
      now_ += 1;
      progress.update(i);
    }
  }
  const std::string out = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 3);  // at 30, 60 and 90 s
  EXPECT_THAT(out, HasSubstr("train 30/1600 1%  128 images/s  26 min 10 s left\n"));
  EXPECT_THAT(out, Not(HasSubstr("\r")));
}

TEST_F(ProgressTest, ResumedRunCountsItsOwnStepsOnly) {
  testing::internal::CaptureStderr();
  auto o = options(Output::plain);
  o.start = 1000;
  Progress progress(o);
  now_ += 60;
  progress.update(1060);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("128 images/s  9 min 00 s left"));
}

TEST_F(ProgressTest, UnknownTotal) {
  testing::internal::CaptureStderr();
  auto o = options(Output::plain);
  o.total = 0;
  Progress progress(o);
  now_ += 60;
  progress.update(60);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "train 60  128 images/s\n");
}

TEST_F(ProgressTest, QuietWhereInformationIsNotLogged) {
  set_log_level(LogLevel::warning);
  testing::internal::CaptureStderr();
  {
    Progress progress(options(Output::automatic));
    now_ += 60;
    progress.update(60);
    progress.finish();
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  set_log_level(LogLevel::info);
}

TEST_F(ProgressTest, LogLinesAppearAboveTheLine) {
  testing::internal::CaptureStderr();
  Progress progress(options(Output::line));
  progress.update(0);
  log_info("saved");
  const std::string out = testing::internal::GetCapturedStderr();
  const std::string line = "train 0/1600 [--------------------] 0%";
  EXPECT_EQ(out, line + "\r" + std::string(line.size(), ' ') + "\rsaved\n" + line);
}

}  // namespace
}  // namespace gallop
