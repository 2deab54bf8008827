#include "gallop/training/decision.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <mutex>
#include <thread>
#include <vector>

namespace gallop::training {
namespace {

// Two processes as two threads: what each says is put together when both have come.
class Pair : public collectives::Collectives {
 public:
  void sum(std::span<double>) override {}
  void sum(std::span<int64_t>) override {}
  void largest(std::span<int64_t> values) override {
    {
      const std::lock_guard lock(mutex_);
      largest_.resize(values.size());
      for (size_t i = 0; i < values.size(); ++i) largest_[i] = std::max(largest_[i], values[i]);
    }
    both_.arrive_and_wait();
    std::copy(largest_.begin(), largest_.end(), values.begin());
    both_.arrive_and_wait();
  }

 private:
  std::mutex mutex_;
  std::vector<int64_t> largest_;
  std::barrier<> both_{2};
};

std::vector<Decision> agreed(const Decision& one, const Decision& other) {
  Pair pair;
  std::vector<Decision> decisions(2);
  std::vector<std::thread> threads;
  for (int64_t rank : {0, 1}) {
    threads.emplace_back([&, rank] {
      decisions[static_cast<size_t>(rank)] =
          agree({.rank = rank, .size = 2, .collectives = &pair}, rank == 0 ? one : other);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return decisions;
}

TEST(Decision, IsOneForAllProcesses) {
  for (const Decision& decision : agreed({}, {})) {
    EXPECT_TRUE(decision.applies());
    EXPECT_FALSE(decision.stop);
  }
  for (const Decision& decision : agreed({}, {.finite = false})) EXPECT_FALSE(decision.applies());
  for (const Decision& decision : agreed({.spike = true}, {})) EXPECT_FALSE(decision.applies());
  for (const Decision& decision : agreed({}, {.stop = true})) {
    EXPECT_TRUE(decision.applies());
    EXPECT_TRUE(decision.stop);
  }
}

TEST(Decision, OfOneProcessIsItsOwn) {
  const Decision decision = agree({}, {.finite = true, .spike = true, .stop = true});
  EXPECT_FALSE(decision.applies());
  EXPECT_TRUE(decision.stop);
}

}  // namespace
}  // namespace gallop::training
