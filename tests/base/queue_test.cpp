#include "gallop/base/queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace gallop {
namespace {

TEST(BoundedQueue, KeepsOrderAndBound) {
  BoundedQueue<int> queue(3);
  std::atomic<int> pushed{0};
  std::thread producer([&] {
    for (int i = 0; i < 100; ++i) {
      queue.push(i);
      ++pushed;
    }
    queue.close();
  });
  int expected = 0;
  while (auto v = queue.pop()) {
    EXPECT_EQ(*v, expected++);
    EXPECT_LE(queue.size(), 3u);
    EXPECT_LE(pushed.load(), expected + 4);  // it waited for room
  }
  producer.join();
  EXPECT_EQ(expected, 100);
}

TEST(BoundedQueue, PushWaitsForRoom) {
  BoundedQueue<int> queue(1);
  queue.push(1);
  std::atomic<bool> done{false};
  std::thread producer([&] {
    queue.push(2);
    done = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(done);
  EXPECT_EQ(queue.pop(), 1);
  producer.join();
  EXPECT_EQ(queue.pop(), 2);
}

TEST(BoundedQueue, CloseWakesEverybody) {
  BoundedQueue<int> full(1), empty(1);
  full.push(7);
  std::thread producer([&] { EXPECT_FALSE(full.push(8)); });
  std::thread consumer([&] { EXPECT_FALSE(empty.pop().has_value()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  full.close();
  full.close();
  empty.close();
  producer.join();
  consumer.join();
  EXPECT_TRUE(full.closed());
  EXPECT_FALSE(full.push(9));
  EXPECT_EQ(full.pop(), 7);  // what was accepted is not lost
  EXPECT_FALSE(full.pop().has_value());
}

TEST(BoundedQueue, ManyThreadsLoseNothing) {
  BoundedQueue<std::unique_ptr<int>> queue(4);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> producers, consumers;
  for (int p = 0; p < 3; ++p)
    producers.emplace_back([&, p] {
      for (int i = 0; i < 1000; ++i) queue.push(std::make_unique<int>(p * 1000 + i));
    });
  for (int c = 0; c < 3; ++c)
    consumers.emplace_back([&] {
      while (auto v = queue.pop()) sum += **v;
    });
  for (auto& t : producers) t.join();
  queue.close();
  for (auto& t : consumers) t.join();
  EXPECT_EQ(sum, 2999 * 3000 / 2);
}

TEST(BoundedQueue, TryPopDoesNotWait) {
  BoundedQueue<int> queue(0);  // a capacity of 0 would never pass anything on
  EXPECT_FALSE(queue.try_pop().has_value());
  queue.push(5);
  EXPECT_EQ(queue.try_pop(), 5);
}

}  // namespace
}  // namespace gallop
