#include "gallop/base/streamed_rank.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "gallop/base/random.h"
#include "tests/support/errors.h"

namespace gallop {
namespace {

using ::gallop::testing::message_of;
using ::testing::HasSubstr;

constexpr float infinity = std::numeric_limits<float>::infinity();

struct Found {
  float value;
  int passes;
};

// In pieces of uneven length.
Found find(const std::vector<float>& numbers, int64_t rank, size_t capacity) {
  StreamedRank streamed(static_cast<double>(rank) / static_cast<double>(numbers.size()), capacity);
  for (int pass = 1;; ++pass) {
    size_t piece = 1;
    for (size_t begin = 0; begin < numbers.size(); begin += piece++) {
      streamed.add({&numbers[begin], std::min(piece, numbers.size() - begin)});
    }
    if (streamed.end_pass(rank)) return {streamed.value(), pass};
  }
}

float sorted(std::vector<float> numbers, int64_t rank) {
  std::sort(numbers.begin(), numbers.end());
  return numbers[static_cast<size_t>(rank - 1)];
}

std::vector<float> normal(size_t count) {
  std::vector<float> numbers(count);
  fill_normal(numbers, {.seed = 3, .purpose = "ranks"});
  return numbers;
}

TEST(StreamedRank, OnePassFindsEveryRankOfNumbersInNoOrder) {
  const std::vector<float> numbers = normal(20000);
  for (const int64_t rank : {1, 2, 100, 5000, 10000, 17500, 19999, 20000}) {
    for (const size_t capacity : {2000, 20001}) {
      const auto [value, passes] = find(numbers, rank, capacity);
      EXPECT_EQ(value, sorted(numbers, rank)) << rank << " with " << capacity;
      EXPECT_EQ(passes, 1) << rank << " with " << capacity;
    }
  }
}

// Numbers that rise, fall, or come in blocks of a kind: what is kept early says nothing of the end.
TEST(StreamedRank, MorePassesFindItInNumbersThatDrift) {
  std::vector<float> rising = normal(5000);
  std::sort(rising.begin(), rising.end());
  std::vector<float> falling(rising.rbegin(), rising.rend()), blocks = rising;
  std::rotate(blocks.begin(), blocks.begin() + 1700, blocks.end());
  int most = 0;
  for (const auto& numbers : {rising, falling, blocks}) {
    for (const int64_t rank : {1, 7, 1250, 2500, 4321, 5000}) {
      const auto [value, passes] = find(numbers, rank, 64);
      EXPECT_EQ(value, sorted(rising, rank)) << rank;
      EXPECT_LE(passes, 4);
      most = std::max(most, passes);
    }
  }
  EXPECT_EQ(most, 4) << "the digits were never needed";
}

TEST(StreamedRank, EqualNumbersAndInfinitiesTakeNoRoom) {
  std::vector<float> numbers(1000, 0.25F);
  numbers.insert(numbers.end(), 400, -infinity);
  numbers.insert(numbers.end(), 300, infinity);
  numbers.insert(numbers.end(), 500, -0.0F);
  numbers.insert(numbers.end(), 500, 0.0F);
  numbers.insert(numbers.end(), {1e-45F, -1e-45F, 3e38F, -3e38F});
  for (int64_t rank = 1; rank <= static_cast<int64_t>(numbers.size()); rank += 13) {
    for (const size_t capacity : {64, 4000}) {
      EXPECT_EQ(find(numbers, rank, capacity).value, sorted(numbers, rank)) << rank;
    }
  }
}

TEST(StreamedRank, SaysWhatHasNoRank) {
  StreamedRank streamed(0.5, 64);
  const std::vector<float> bad = {1, std::nanf(""), 2}, good = {3, 1, 2};
  EXPECT_THAT(message_of([&] { streamed.add(bad); }), HasSubstr("NaN"));
  StreamedRank of_three(0.5, 64);
  of_three.add(good);
  EXPECT_EQ(of_three.count(), 3);
  EXPECT_THAT(message_of([&] { of_three.end_pass(0); }), HasSubstr("rank 0 among 3"));
  EXPECT_THAT(message_of([&] { of_three.end_pass(4); }), HasSubstr("rank 4 among 3"));
  EXPECT_TRUE(of_three.end_pass(3));
  EXPECT_EQ(of_three.value(), 3);
}

TEST(StreamedRank, RefusesAPassOverOtherNumbers) {
  std::vector<float> rising(1000);
  std::iota(rising.begin(), rising.end(), 0.0F);
  StreamedRank streamed(0.01, 64);
  streamed.add(rising);
  ASSERT_FALSE(streamed.end_pass(990)) << "about rank 10 was announced";
  streamed.add({rising.data(), 999});
  EXPECT_THAT(message_of([&] { streamed.end_pass(990); }),
              HasSubstr("999 numbers after one over 1000"));
}

}  // namespace
}  // namespace gallop
