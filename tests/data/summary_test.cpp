#include "gallop/data/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gallop/base/file.h"
#include "gallop/data/stored_images.h"
#include "tests/data/open_source.h"

namespace gallop::data {
namespace {

using testing::ElementsAre;

/// Pictures of one pixel and `channels` values, with labels below `classes`.
StoredImages pictures(int64_t channels, const std::vector<uint8_t>& values,
                      const std::vector<uint8_t>& labels, int64_t classes) {
  return {{.path = "pictures",
           .count = static_cast<int64_t>(labels.size()),
           .channels = channels,
           .height = 1,
           .width = 1,
           .classes = classes},
          values,
          labels};
}

TEST(Summary, CountsClasses) {
  const auto data = pictures(1, {1, 2, 3, 4}, {2, 0, 2, 2}, 4);
  EXPECT_THAT(class_counts(data), ElementsAre(1, 0, 3, 0));
  EXPECT_THAT(class_counts(pictures(1, {1}, {0}, 0)), ElementsAre());
}

TEST(Notices, NameClassesWithoutTrainingSamples) {
  const std::string end = " no training sample and will not be learned: ";
  EXPECT_THAT(notices(pictures(1, {1, 2}, {0, 1}, 2), "train"), ElementsAre());
  EXPECT_THAT(notices(pictures(1, {1, 2}, {1, 1}, 2), "test"), ElementsAre());
  EXPECT_THAT(notices(pictures(1, {1, 2}, {0, 2}, 4), "train"),
              ElementsAre("2 of 4 classes have" + end + "1 and 3"));
  EXPECT_THAT(notices(pictures(1, {1}, {9}, 10), "train"),
              ElementsAre("9 of 10 classes have" + end + "0, 1, 2, 3, 4, 5 and 3 more"));
  EXPECT_THAT(notices(pictures(1, {1}, {0}, 0), "train"), ElementsAre());
  const StoredImages named{{.path = "pictures",
                            .count = 1,
                            .channels = 1,
                            .height = 1,
                            .width = 1,
                            .classes = 2,
                            .class_names = {"a\nb", "c"},
                            .notices = {"something else"}},
                           {1},
                           {1}};
  EXPECT_THAT(notices(named, "train"),
              ElementsAre("something else", "1 of 2 classes has" + end + "0 (a\\nb)"));
}

// As an index set has it that was made for a language that counts from 1.
TEST(Notices, AskWhetherLabelsCountFromOne) {
  EXPECT_THAT(notices(pictures(1, {1, 2}, {1, 2}, 3), "train"),
              ElementsAre(testing::HasSubstr("do the labels count from 1?")));
  EXPECT_THAT(notices(pictures(1, {1, 2}, {0, 2}, 3), "train"),
              ElementsAre(testing::Not(testing::HasSubstr("do the labels count from 1?"))));
}

TEST(Summary, MeasuresEachChannel) {
  // -1 and 1: mean 0, deviation 1. 0.2 and 0.6 (153 and 204): mean 0.4, deviation 0.2.
  const auto data = pictures(2, {0, 153, 255, 204}, {0, 0}, 1);
  const Moments all = moments(data, 100);
  EXPECT_EQ(all.samples, 2);
  EXPECT_NEAR(all.mean.at(0), 0, 1e-7);
  EXPECT_NEAR(all.deviation.at(0), 1, 1e-7);
  EXPECT_NEAR(all.mean.at(1), 0.4, 1e-7);
  EXPECT_NEAR(all.deviation.at(1), 0.2, 1e-7);
}

TEST(Summary, MeasuresAPartOfMuch) {
  std::vector<uint8_t> values(100, 255);
  values[0] = 0;
  const auto data = pictures(1, values, std::vector<uint8_t>(100, 0), 1);
  EXPECT_EQ(moments(data, 10).samples, 10);
  EXPECT_NEAR(moments(data, 10).mean.at(0), 0.8, 1e-7);  // the first and nine others
  EXPECT_EQ(moments(data, 0).samples, 1);
}

// The published mean and deviation of the training images, in [0, 1]: 0.2860 and 0.3530.
TEST(Summary, AgreesWithWhatIsKnownOfFashionMnist) {
  if (!fs::exists("/usr/share/datasets/fashion-mnist"))
    GTEST_SKIP() << "Debian's dataset-fashion-mnist is not installed";
  const auto train = open_dataset(DataConfig{}, {});
  const Moments all = moments(*train, int64_t{60'000} * 784);
  EXPECT_EQ(all.samples, 60'000);
  EXPECT_NEAR((all.mean.at(0) + 1) / 2, 0.2860, 5e-5);
  EXPECT_NEAR(all.deviation.at(0) / 2, 0.3530, 5e-5);
  EXPECT_THAT(class_counts(*train), testing::Each(6000));
}

TEST(Summary, ShowsTheFirstOfEachClass) {
  const auto data = pictures(1, std::vector<uint8_t>(8), {1, 0, 1, 1, 0, 3, 3, 3}, 5);
  const Examples two = choose_examples(data, 10, 2);
  EXPECT_EQ(two.columns, 2);
  EXPECT_THAT(two.indices, ElementsAre(1, 4, 0, 2, 5, 6));  // classes 0, 1, 3
  const Examples many = choose_examples(data, 10, 9);
  EXPECT_EQ(many.columns, 2);  // class 0 has no more
  EXPECT_THAT(many.indices, ElementsAre(1, 4, 0, 2, 5, 6));
  EXPECT_THAT(choose_examples(data, 2, 1).indices, ElementsAre(1, 0));
}

TEST(Summary, SpreadsExamplesWithoutClasses) {
  const auto data = pictures(1, std::vector<uint8_t>(8), std::vector<uint8_t>(8), 0);
  EXPECT_THAT(choose_examples(data, 2, 2).indices, ElementsAre(0, 2, 4, 6));
  EXPECT_EQ(choose_examples(data, 2, 2).columns, 2);
  EXPECT_THAT(choose_examples(data, 3, 3).indices, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

}  // namespace
}  // namespace gallop::data
