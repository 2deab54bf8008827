#include "gallop/data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "gallop/base/error.h"
#include "tests/data/counting_dataset.h"

namespace gallop::data {
namespace {

using test::CountingSettings;

DataConfig config_of(int64_t count, int64_t workers = 1, int64_t queue = 4) {
  DataConfig config;
  config.source.choose("test-counting");
  config.source.as<CountingSettings>().count = count;
  config.workers = workers;
  config.queue = queue;
  return config;
}

Loader load(const DataConfig& config, int64_t batch, uint64_t seed = 1, int64_t first = 0) {
  return {open_dataset(config, {}), config, batch, seed, first};
}

std::vector<int64_t> epoch(const Order& order, int64_t n, int64_t count) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < count; ++i) indices.push_back(order.at(n * count + i));
  return indices;
}

TEST(Order, EachEpochIsAPermutation) {
  const Order order(50, 7);
  std::vector<int64_t> all(50);
  std::iota(all.begin(), all.end(), 0);
  for (int64_t n = 0; n < 4; ++n)
    EXPECT_THAT(epoch(order, n, 50), testing::UnorderedElementsAreArray(all)) << n;
  EXPECT_EQ(order.epoch_of(49), 0);
  EXPECT_EQ(order.epoch_of(50), 1);
}

TEST(Order, DependsOnSeedAndEpochOnly) {
  const Order a(50, 7), b(50, 7), other(50, 8);
  const auto third = epoch(a, 3, 50);
  epoch(b, 9, 50);
  epoch(b, 0, 50);
  EXPECT_EQ(epoch(b, 3, 50), third);
  EXPECT_NE(epoch(b, 4, 50), third);
  EXPECT_NE(epoch(other, 3, 50), third);
}

TEST(Order, RefusesAnEmptySet) { EXPECT_THROW(Order(0, 1), Error); }

TEST(Loader, GivesTheSamplesOfTheOrder) {
  Loader loader = load(config_of(10), 4, 3);
  const Order order(10, 3);
  for (int64_t n = 0; n < 6; ++n) {  // 24 positions: batches run on from one epoch into the next
    const Batch batch = loader.next();
    EXPECT_EQ(batch.position, 4 * n);
    ASSERT_EQ(batch.images.size(), 24u);
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t index = order.at(n * 4 + i);
      EXPECT_EQ(batch.indices[static_cast<size_t>(i)], index);
      EXPECT_EQ(batch.labels[static_cast<size_t>(i)], index);
      for (int64_t k = 0; k < 6; ++k)
        EXPECT_FLOAT_EQ(batch.images[static_cast<size_t>(i * 6 + k)],
                        static_cast<float>(index) + static_cast<float>(k) / 10.0f);
    }
  }
}

TEST(Loader, ABatchMayBeLargerThanTheData) {
  Loader loader = load(config_of(3), 7);
  const Batch batch = loader.next();
  std::vector<int64_t> first(batch.indices.begin(), batch.indices.begin() + 3);
  EXPECT_THAT(first, testing::UnorderedElementsAre(0, 1, 2));
  EXPECT_EQ(batch.indices.size(), 7u);
}

TEST(Loader, LeavesLabelsOutWhereThereAreNone) {
  DataConfig config = config_of(10);
  config.source.as<CountingSettings>().labels = false;
  Loader loader = load(config, 4);
  EXPECT_TRUE(loader.next().labels.empty());
}

// The number of threads, the length of the queue and where a run goes on change nothing.
TEST(Loader, BatchesDependOnSeedAndStepOnly) {
  DataConfig config = config_of(10);
  config.flip = true;
  std::vector<Batch> want;
  {
    Loader loader = load(config, 4);
    for (int n = 0; n < 20; ++n) want.push_back(loader.next());
  }
  const auto expect_same = [&](Loader loader, size_t first) {
    for (size_t n = first; n < want.size(); ++n) {
      const Batch batch = loader.next();
      EXPECT_EQ(batch.position, want[n].position);
      EXPECT_EQ(batch.indices, want[n].indices);
      EXPECT_EQ(batch.images, want[n].images);
      EXPECT_EQ(batch.labels, want[n].labels);
    }
  };
  for (const auto& [workers, queue] : {std::pair{1, 1}, {2, 1}, {3, 4}, {7, 100}}) {
    config.workers = workers;
    config.queue = queue;
    expect_same(load(config, 4), 0);
    expect_same(load(config, 4, 1, 52), 13);
  }
  Loader other = load(config, 4, 2);
  EXPECT_NE(other.next().indices, want[0].indices);
}

TEST(Loader, FlipsAboutHalfOfTheImagesAnewInEachEpoch) {
  DataConfig config = config_of(100);
  config.flip = true;
  Loader loader = load(config, 100);
  std::vector<std::vector<bool>> flipped;
  for (int n = 0; n < 4; ++n) {
    const Batch batch = loader.next();
    auto& of_epoch = flipped.emplace_back(100);
    for (size_t i = 0; i < 100; ++i) {
      const float* image = batch.images.data() + 6 * i;
      const float base = static_cast<float>(batch.indices[i]);
      const bool mirrored = image[0] > image[2];
      of_epoch[static_cast<size_t>(batch.indices[i])] = mirrored;
      const std::vector<int> columns =
          mirrored ? std::vector{2, 1, 0, 5, 4, 3} : std::vector{0, 1, 2, 3, 4, 5};
      for (size_t k = 0; k < 6; ++k)
        EXPECT_FLOAT_EQ(image[k], base + static_cast<float>(columns[k]) / 10.0f);
    }
    // 50 expected, standard deviation 5.
    EXPECT_NEAR(std::count(of_epoch.begin(), of_epoch.end(), true), 50, 25);
  }
  EXPECT_NE(flipped[0], flipped[1]);
}

TEST(Loader, ThrowsWhatAWorkerMet) {
  for (const int64_t workers : {1, 3}) {
    DataConfig config = config_of(10, workers);
    config.source.as<CountingSettings>().broken = 6;
    Loader loader = load(config, 1);
    const Order order(10, 1);
    int64_t position = 0;
    while (order.at(position) != 6) ++position;
    for (int64_t n = 0; n < position; ++n) EXPECT_EQ(loader.next().position, n);
    for (int again = 0; again < 3; ++again) {
      try {
        loader.next();
        FAIL();
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), testing::StartsWith("sample 6 is broken (sample 6 of the train"));
        EXPECT_THAT(error.what(), testing::HasSubstr("--set data.on_error=skip"));
      }
    }
  }
}

// With full queues, empty ones, and workers that have stopped.
TEST(Loader, CanBeLeftAtAnyTime) {
  for (const int64_t taken : {0, 1, 5}) {
    for (const int64_t broken : {-1, 0}) {
      DataConfig config = config_of(10, 3, 2);
      config.source.as<CountingSettings>().broken = broken;
      std::optional<Loader> loader(std::in_place, open_dataset(config, {}), config, 2, 1);
      try {
        for (int64_t n = 0; n < taken; ++n) loader->next();
      } catch (const Error&) {
      }
      loader.reset();
    }
  }
}

TEST(Loader, RefusesAnImpossibleBatch) {
  EXPECT_THROW(load(config_of(10), 0), Error);
  EXPECT_THROW(load(config_of(10), 1, 1, -1), Error);
}

}  // namespace
}  // namespace gallop::data
