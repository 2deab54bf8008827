#include "gallop/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <set>
#include <thread>

#include "gallop/base/error.h"

namespace gallop {
namespace {

void expect_words(const Philox4& r, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  EXPECT_EQ(r.word[0], a);
  EXPECT_EQ(r.word[1], b);
  EXPECT_EQ(r.word[2], c);
  EXPECT_EQ(r.word[3], d);
}

// Known answers published with Random123 (Salmon et al., 2011), philox4x32 with 10 rounds.
TEST(Philox, KnownAnswers) {
  expect_words(philox(0, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
  expect_words(philox(~0ull, ~0ull, ~0ull), 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd);
  expect_words(philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e), 0xd16cfe09,
               0x94fdcceb, 0x5001e420, 0x24126ea1);
}

// XXH3_64bits, values of the reference implementation (xxhsum -H3).
TEST(HashName, IsXxh3) {
  EXPECT_EQ(hash_name(""), 0x2d06800538d394c2u);
  EXPECT_EQ(hash_name("a"), 0xe6c632b61e964e1fu);
}

const NoiseKey key{7, "noise", 3, 11};

TEST(FillNormal, ElementDependsOnKeyAndPositionOnly) {
  std::vector<float> all(1001);
  fill_normal(all, key);
  for (const size_t n : {1, 2, 3, 64, 1000}) {
    std::vector<float> part(n);
    fill_normal(part, key);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin())) << n;
  }
  std::vector<float> in_thread(1001);
  std::thread([&] { fill_normal(in_thread, key); }).join();
  EXPECT_EQ(in_thread, all);
}

// Computed by an independent implementation (Python integers, xxhash, mpmath at 30 digits). Streams
// are part of the file formats: a change would change every resumed run.
TEST(FillNormal, KeyedStreamNeverChanges) {
  double u[6], x[6];
  fill_uniform(u, key);
  fill_normal(x, key);
  const double uniforms[] = {0.8294195056255672,   0.20762822038534312, 0.9410593166844687,
                             0.006363520447011828, 0.17181028120777186, 0.010359153971223334};
  const double normals[] = {0.160910275501695158,  0.590056192766242413, 0.348287354047679386,
                            0.0139330608412490245, 1.87291906902382405,  0.122077906405186954};
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(u[i], uniforms[i]) << i;
    EXPECT_NEAR(x[i], normals[i], 1e-15) << i;
  }
}

TEST(FillNormal, FloatIsTheRoundedDouble) {
  std::vector<float> f(501);
  std::vector<double> d(501);
  fill_normal(f, key);
  fill_normal(d, key);
  for (size_t i = 0; i < f.size(); ++i) ASSERT_EQ(f[i], static_cast<float>(d[i]));
  EXPECT_EQ(normal(key), d[0]);
}

TEST(FillNormal, EveryPartOfTheKeyCounts) {
  const NoiseKey keys[] = {key,
                           {8, "noise", 3, 11},
                           key.with_purpose("order"),
                           key.with_sample(11).with_step(3),
                           key.with_sample(4),
                           key.with_step(12),
                           key.with_sample(3 + (1ull << 32))};
  std::set<double> first;
  for (const NoiseKey& k : keys) first.insert(normal(k));
  EXPECT_EQ(first.size(), std::size(keys));
}

// Streams of neighbouring samples must not be shifted copies of each other.
TEST(FillUniform, StreamsDoNotOverlap) {
  std::set<double> seen;
  for (uint64_t sample = 0; sample < 50; ++sample) {
    for (uint64_t step = 0; step < 50; ++step) {
      double numbers[8];
      fill_uniform(numbers, {0, "overlap", sample, step});
      seen.insert(std::begin(numbers), std::end(numbers));
    }
  }
  EXPECT_EQ(seen.size(), 50u * 50u * 8u);  // 53 random bits: an equal pair has probability 2e-8
}

double mean_of(const std::vector<double>& x, int power) {
  double sum = 0;
  for (const double v : x) sum += std::pow(v, power);
  return sum / static_cast<double>(x.size());
}

// Bounds are 5 standard deviations of the estimate for n independent numbers.
TEST(FillNormal, Moments) {
  const size_t n = 1 << 20;
  std::vector<double> x(n);
  fill_normal(x, {1, "moments"});
  const double root = std::sqrt(static_cast<double>(n));
  EXPECT_NEAR(mean_of(x, 1), 0, 5 / root);
  EXPECT_NEAR(mean_of(x, 2), 1, 5 * std::sqrt(2.0) / root);
  EXPECT_NEAR(mean_of(x, 3), 0, 5 * std::sqrt(15.0) / root);
  EXPECT_NEAR(mean_of(x, 4), 3, 5 * std::sqrt(96.0) / root);
  double product = 0;
  for (size_t i = 0; i + 1 < n; ++i) product += x[i] * x[i + 1];
  EXPECT_NEAR(product / static_cast<double>(n), 0, 5 / root);
}

// Kolmogorov-Smirnov: sqrt(n) sup|F_n - F| exceeds 2.2 with probability 1.2e-4.
TEST(FillNormal, Distribution) {
  const size_t n = 200'000;
  std::vector<double> x(n);
  fill_normal(x, {2, "distribution"});
  std::sort(x.begin(), x.end());
  double largest = 0;
  for (size_t i = 0; i < n; ++i) {
    const double f = 0.5 * std::erfc(-x[i] / std::numbers::sqrt2);
    largest = std::max({largest, std::abs(f - static_cast<double>(i) / n),
                        std::abs(f - static_cast<double>(i + 1) / n)});
  }
  EXPECT_LT(largest * std::sqrt(static_cast<double>(n)), 2.2);
  EXPECT_LT(x.front(), -3.8);  // tails are there
  EXPECT_GT(x.back(), 3.8);
}

TEST(FillNormal, IndependentAcrossKeys) {
  const size_t n = 4096, streams = 40;
  std::vector<std::vector<double>> x(streams, std::vector<double>(n));
  for (size_t s = 0; s < streams; ++s) fill_normal(x[s], {0, "across", s % 8, s / 8});
  double worst = 0;
  for (size_t a = 0; a < streams; ++a)
    for (size_t b = 0; b < a; ++b) {
      double sum = 0;
      for (size_t i = 0; i < n; ++i) sum += x[a][i] * x[b][i];
      worst = std::max(worst, std::abs(sum) / std::sqrt(static_cast<double>(n)));
    }
  EXPECT_LT(worst, 5.5);  // standard deviations, 780 pairs
}

// The pair (2b, 2b+1) is Box-Muller of the two halves of one block; here with the C library's
// functions.
TEST(FillNormal, IsBoxMuller) {
  std::vector<double> x(20'000);
  fill_normal(x, key);
  for (size_t i = 0; i < x.size(); i += 2) {
    const double r2 = x[i] * x[i] + x[i + 1] * x[i + 1];
    const double u = std::exp(-r2 / 2);  // must be a multiple of 2^-53 up to rounding
    ASSERT_GT(u, 0);
    ASSERT_LE(u, 1 + 1e-15);
  }
  // Uniforms of the same key come from the same bits: cos and sin of the second give the direction.
  std::vector<double> u(x.size());
  fill_uniform(u, key);
  for (size_t i = 0; i < x.size(); i += 2) {
    const double radius = std::sqrt(-2 * std::log(u[i] + 0x1p-53));
    ASSERT_NEAR(x[i], radius * std::cos(2 * std::numbers::pi * u[i + 1]), 4e-15);
    ASSERT_NEAR(x[i + 1], radius * std::sin(2 * std::numbers::pi * u[i + 1]), 4e-15);
  }
}

TEST(FillUniform, RangeAndMoments) {
  const size_t n = 1 << 20;
  std::vector<double> x(n);
  fill_uniform(x, {3, "uniform"});
  const auto [least, most] = std::minmax_element(x.begin(), x.end());
  EXPECT_GE(*least, 0);
  EXPECT_LT(*most, 1);
  EXPECT_LT(*least, 1e-4);
  EXPECT_GT(*most, 1 - 1e-4);
  const double root = std::sqrt(static_cast<double>(n));
  EXPECT_NEAR(mean_of(x, 1), 0.5, 5 * std::sqrt(1 / 12.0) / root);
  EXPECT_NEAR(mean_of(x, 2), 1 / 3.0, 5 * std::sqrt(4 / 45.0) / root);
  std::vector<float> f(n);
  fill_uniform(f, {3, "uniform"});
  for (size_t i = 0; i < n; ++i) {
    ASSERT_LT(f[i], 1.0f);
    ASSERT_NEAR(f[i], x[i], 0x1p-24);
  }
  EXPECT_EQ(uniform({3, "uniform"}), x[0]);
}

TEST(UniformBelow, CoversTheRangeEvenly) {
  int count[7] = {};
  for (uint64_t s = 0; s < 70'000; ++s) ++count[uniform_below(7, key.with_sample(s))];
  for (const int c : count) EXPECT_NEAR(c, 10'000, 5 * 93);
  EXPECT_EQ(uniform_below(1, key), 0u);
  // Just above 2^63 nearly half of all words are passed over.
  for (uint64_t s = 0; s < 100; ++s)
    EXPECT_LE(uniform_below((1ull << 63) + 1, key.with_sample(s)), 1ull << 63);
  EXPECT_THROW(uniform_below(0, key), Error);
}

TEST(Permutation, HoldsEveryIndexOnce) {
  for (const int64_t n : {0, 1, 2, 1000}) {
    auto p = permutation(n, key);
    std::sort(p.begin(), p.end());
    ASSERT_EQ(p.size(), static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(p[static_cast<size_t>(i)], i);
  }
  EXPECT_EQ(permutation(100, key), permutation(100, key));
  EXPECT_NE(permutation(100, key), permutation(100, key.with_step(12)));
  EXPECT_THROW(permutation(-1, key), Error);
}

TEST(Permutation, EveryOrderIsEquallyLikely) {
  std::map<std::vector<int64_t>, int> count;
  for (uint64_t s = 0; s < 24'000; ++s) ++count[permutation(4, key.with_sample(s))];
  EXPECT_EQ(count.size(), 24u);
  for (const auto& [order, c] : count) EXPECT_NEAR(c, 1000, 5 * 31);
}

}  // namespace
}  // namespace gallop
