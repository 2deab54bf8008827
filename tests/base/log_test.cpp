#include "gallop/base/log.h"

#include <gtest/gtest.h>

#include <sstream>
#include <thread>
#include <vector>

namespace gallop {
namespace {

class Log : public testing::Test {
 protected:
  void TearDown() override { set_log_level(LogLevel::info); }
};

TEST_F(Log, LevelsAndPrefixes) {
  testing::internal::CaptureStderr();
  log_debug("hidden");
  log_info("step ", 3);
  log_warning("odd");
  log_line(LogLevel::error, "bad\n");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "step 3\nwarning: odd\nerror: bad\n");

  testing::internal::CaptureStderr();
  set_log_level(LogLevel::warning);
  log_info("hidden");
  log_warning("shown");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: shown\n");

  testing::internal::CaptureStderr();
  set_log_level(LogLevel::debug);
  log_debug("shown");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "debug: shown\n");
}

TEST_F(Log, StatusLineIsClearedAndDrawnAgain) {
  testing::internal::CaptureStderr();
  set_status_line("12 %");
  log_info("note");
  set_status_line("9 %");
  set_status_line("");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "12 %"
            "\r    \rnote\n12 %"
            "\r9 % \r9 %"
            "\r   \r");
}

TEST_F(Log, LinesOfThreadsStayWhole) {
  testing::internal::CaptureStderr();
  std::vector<std::thread> threads;
  for (char c = 'a'; c < 'e'; ++c)
    threads.emplace_back([c] {
      for (int i = 0; i < 200; ++i) log_info(std::string(300, c));
    });
  for (auto& t : threads) t.join();
  std::istringstream lines(testing::internal::GetCapturedStderr());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    ASSERT_EQ(line, std::string(300, line[0]));
  EXPECT_EQ(count, 800);
}

}  // namespace
}  // namespace gallop
