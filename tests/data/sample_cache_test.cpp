#include "gallop/data/sample_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace gallop::data {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<uint8_t> at(const SampleCache& cache, int64_t index) {
  const auto found = cache.find(index);
  return {found.begin(), found.end()};
}

TEST(SampleCache, KeepsTheFirstUpToItsBound) {
  SampleCache cache(2000);
  EXPECT_THAT(at(cache, 0), IsEmpty());
  for (int64_t i = 0; i < 10; ++i)
    cache.keep(i, std::vector<uint8_t>(500, static_cast<uint8_t>(i)));
  int kept = 0;
  for (int64_t i = 0; i < 10; ++i) {
    const auto found = at(cache, i);
    if (found.empty()) continue;
    ++kept;
    EXPECT_EQ(found.size(), 500u);
    EXPECT_THAT(found, testing::Each(static_cast<uint8_t>(i)));
    EXPECT_LT(i, 4);
  }
  EXPECT_EQ(kept, 3);     // 4 x 500 bytes and what each entry takes are more than 2000
  cache.keep(9, {1, 2});  // there is room for a small one
  EXPECT_THAT(at(cache, 9), ElementsAre(1, 2));
}

TEST(SampleCache, KeepsNothingWithoutRoom) {
  SampleCache cache(0);
  cache.keep(0, {1});
  EXPECT_THAT(at(cache, 0), IsEmpty());
}

TEST(SampleCache, LeavesASampleWhereItIs) {
  SampleCache cache(1 << 20);
  cache.keep(7, {1, 2, 3});
  const auto first = cache.find(7);
  cache.keep(7, {4, 5, 6});
  for (int64_t i = 100; i < 1000; ++i) cache.keep(i, {0});
  EXPECT_EQ(cache.find(7).data(), first.data());
  EXPECT_THAT(at(cache, 7), ElementsAre(1, 2, 3));
}

TEST(SampleCache, ServesSeveralThreads) {
  SampleCache cache(1 << 20);
  const auto work = [&] {
    for (int64_t i = 0; i < 500; ++i) {
      if (cache.find(i).empty()) cache.keep(i, {static_cast<uint8_t>(i)});
      EXPECT_THAT(at(cache, i), ElementsAre(static_cast<uint8_t>(i)));
    }
  };
  std::thread a(work), b(work);
  a.join();
  b.join();
}

}  // namespace
}  // namespace gallop::data
