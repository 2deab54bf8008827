#include "gallop/data/unreadable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/data/loader.h"
#include "tests/data/counting_dataset.h"
#include "tests/support/errors.h"

namespace gallop::data {
namespace {

using ::gallop::testing::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

DataConfig skipping(int64_t count, int64_t broken, int64_t workers = 1) {
  DataConfig config;
  config.source.choose("test-counting");
  config.source.as<test::CountingSettings>().count = count;
  config.source.as<test::CountingSettings>().broken = broken;
  config.workers = workers;
  config.on_error = "skip";
  return config;
}

struct Stream {
  std::vector<int64_t> indices, labels, unreadable;
};

Stream stream(const DataConfig& config, int64_t batch, int64_t from, int64_t to) {
  Loader loader(open_dataset(config, {}), config, batch, 7, from);
  Stream result;
  for (int64_t at = from; at < to; at += batch) {
    const Batch got = loader.next();
    result.indices.insert(result.indices.end(), got.indices.begin(), got.indices.end());
    result.labels.insert(result.labels.end(), got.labels.begin(), got.labels.end());
    for (const Unreadable& sample : got.unreadable) result.unreadable.push_back(sample.index);
  }
  return result;
}

// What takes a place depends on the place alone: not on threads, batch, or where a run goes on.
TEST(UnreadableSamples, AreReplacedByThePositionAlone) {
  const Stream whole = stream(skipping(10, 6), 4, 0, 80);
  const Order order(10, 7);
  int64_t replaced = 0;
  for (int64_t at = 0; at < 80; ++at) {
    const int64_t got = whole.indices[static_cast<size_t>(at)];
    if (order.at(at) == 6) {
      EXPECT_NE(got, 6) << at;
      ++replaced;
    } else {
      EXPECT_EQ(got, order.at(at)) << at;
    }
  }
  EXPECT_EQ(replaced, 8);
  EXPECT_EQ(whole.labels, whole.indices) << "the label is that of the sample that was read";
  EXPECT_GE(whole.unreadable.size(), 8U);
  EXPECT_THAT(whole.unreadable, ::testing::Each(6));

  EXPECT_EQ(stream(skipping(10, 6, 3), 4, 0, 80).indices, whole.indices);
  EXPECT_EQ(stream(skipping(10, 6), 5, 0, 80).indices, whole.indices);
  const Stream late = stream(skipping(10, 6), 4, 36, 80);
  EXPECT_EQ(late.indices, std::vector<int64_t>(whole.indices.begin() + 36, whole.indices.end()));
}

TEST(UnreadableSamples, DoNotAllTakeTheSameReplacement) {
  const Stream whole = stream(skipping(50, 6), 10, 0, 1000);
  const Order order(50, 7);
  std::set<int64_t> taken;
  for (int64_t at = 0; at < 1000; ++at)
    if (order.at(at) == 6) taken.insert(whole.indices[static_cast<size_t>(at)]);
  EXPECT_GT(taken.size(), 8U) << "of 20 places";
}

TEST(UnreadableSamples, EndTheRunWhereNothingElseIsThere) {
  const DataConfig config = skipping(1, 0);
  Loader loader(open_dataset(config, {}), config, 1, 7);
  EXPECT_THAT(message_of([&] { loader.next(); }),
              AllOf(HasSubstr("100 samples of the train split"), HasSubstr("sample 0 is broken")));
}

TEST(UnreadableSamples, AreToldOnceEach) {
  UnreadableLog log;
  ::testing::internal::CaptureStderr();
  log.tell("train", {{3, "a.png is cut short"}, {4, "b.png is cut short"}});
  log.tell("train", {{3, "a.png is cut short"}});
  log.tell("test", {{3, "c.png is cut short"}});
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("sample 3 of the train split cannot be read"));
  EXPECT_EQ(text.find("a.png"), text.rfind("a.png"));
  EXPECT_THAT(text, AllOf(HasSubstr("b.png is cut short"), HasSubstr("c.png is cut short")));
}

}  // namespace
}  // namespace gallop::data
