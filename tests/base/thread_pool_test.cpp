#include "gallop/base/thread_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/support/errors.h"

namespace gallop {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using testing::message_of;

std::vector<int> counts_of(ThreadPool& pool, int64_t count) {
  std::vector<std::atomic<int>> calls(count);
  pool.run(count, [&](int64_t i) { ++calls[i]; });
  return {calls.begin(), calls.end()};
}

TEST(ThreadPool, CallsEachPieceOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 2, 3, 1000}) {
      EXPECT_THAT(counts_of(pool, count), Each(1)) << threads << " threads, " << count;
    }
  }
}

// A worker may come late, leave while the next work is posted, or sleep in between.
TEST(ThreadPool, ManySmallWorksAfterEachOther) {
  ThreadPool pool(4);
  for (int round = 0; round < 20000; ++round) {
    std::atomic<int64_t> sum{0};
    pool.run(5, [&](int64_t i) { sum += i + round; });
    ASSERT_EQ(sum, 10 + 5 * round);
    if (round % 2000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

TEST(ThreadPool, OtherThreadsHelp) {
  ThreadPool pool(3);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  // A piece waits until another thread has come.
  pool.run(2, [&](int64_t) {
    for (bool alone = true; alone && std::chrono::steady_clock::now() < end;) {
      const std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
      alone = seen.size() < 2;
    }
  });
  EXPECT_EQ(seen.size(), 2U);
}

TEST(ThreadPool, APieceThatSharesWorkDoesItAlone) {
  ThreadPool pool(3);
  std::atomic<int> calls{0};
  pool.run(10, [&](int64_t) { pool.run(10, [&](int64_t) { ++calls; }); });
  EXPECT_EQ(calls, 100);
}

TEST(ThreadPool, SeveralCallersAtOnce) {
  ThreadPool pool(3);
  std::atomic<int> calls{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) pool.run(7, [&](int64_t) { ++calls; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(calls, 4 * 500 * 7);
}

TEST(ThreadPool, AnExceptionComesBackAndThePoolGoesOn) {
  ThreadPool pool(3);
  for (int round = 0; round < 100; ++round) {
    EXPECT_THROW(pool.run(50,
                          [](int64_t i) {
                            if (i == 20) throw std::runtime_error("piece 20");
                          }),
                 std::runtime_error);
    EXPECT_THAT(counts_of(pool, 10), Each(1));
  }
}

TEST(ThreadPool, AForkedChildDoesItsPiecesAlone) {
  ThreadPool pool(3);
  EXPECT_THAT(counts_of(pool, 10), Each(1));
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    const std::vector<int> calls = counts_of(pool, 10);
    _exit(std::accumulate(calls.begin(), calls.end(), 0));
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 10);
}

TEST(ThreadPool, CountsTheTimeOfItsWork) {
  ThreadPool pool(2);
  const auto work = [](int64_t) { std::this_thread::sleep_for(std::chrono::milliseconds(5)); };
  pool.run(4, work);
  const ThreadPool::Times times = pool.times();
  EXPECT_GE(times.busy, 0.02);
  EXPECT_GE(times.shared, 0.01);
  EXPECT_LE(times.shared, times.busy);
  ThreadPool alone(1);
  alone.run(2, work);
  EXPECT_EQ(alone.times().shared, 0);
}

TEST(ThreadPool, ChangesItsThreads) {
  ThreadPool pool(1);
  for (const int threads : {4, 2, 1, 3}) {
    pool.set_threads(threads);
    EXPECT_EQ(pool.threads(), threads);
    EXPECT_THAT(counts_of(pool, 100), Each(1));
  }
}

TEST(ThreadPool, RefusesOtherNumbersOfThreads) {
  ThreadPool pool(2);
  EXPECT_THAT(message_of([&] { pool.set_threads(0); }), HasSubstr("threads = 0: "));
  EXPECT_THAT(message_of([&] { pool.set_threads(4097); }), HasSubstr("1 to 4096"));
  EXPECT_EQ(pool.threads(), 2);
}

}  // namespace
}  // namespace gallop
