#include "gallop/base/stop.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "gallop/base/error.h"

namespace gallop {
namespace {

volatile sig_atomic_t earlier_handler_ran = 0;

TEST(StopSignals, TheFirstSetsAFlag) {
  for (const int signal : {SIGINT, SIGTERM}) {
    StopSignals signals;
    EXPECT_FALSE(stop_requested());
    ::raise(signal);
    EXPECT_TRUE(stop_requested());
  }
  EXPECT_FALSE(stop_requested());
}

TEST(StopSignals, PutsTheHandlerFromBeforeBack) {
  struct sigaction ours{}, original;
  ours.sa_handler = [](int) { earlier_handler_ran = 1; };
  ::sigaction(SIGTERM, &ours, &original);
  {
    StopSignals signals;
  }
  ::raise(SIGTERM);
  EXPECT_EQ(earlier_handler_ran, 1);
  ::sigaction(SIGTERM, &original, nullptr);
}

TEST(StopSignals, OnlyOne) {
  StopSignals signals;
  EXPECT_THROW(StopSignals(), Error);
  request_stop();
  EXPECT_TRUE(stop_requested());
}

TEST(StopSignalsDeathTest, TheSecondEndsTheProcess) {
  const auto twice = [] {
    StopSignals signals;
    ::raise(SIGINT);
    ::raise(SIGTERM);
  };
  EXPECT_EXIT(twice(), testing::ExitedWithCode(130), "once more");
}

}  // namespace
}  // namespace gallop
