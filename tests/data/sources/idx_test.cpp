#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/file.h"
#include "gallop/data/dataset.h"
#include "gallop/data/recognise.h"
#include "gallop/data/summary.h"
#include "tests/data/open_source.h"
#include "tests/support/data_files.h"
#include "tests/support/temporary_directory.h"

namespace gallop::data {
namespace {

using test::gzip_bytes;
using test::idx_bytes;
using test::put_file;
using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<Dataset> open(const std::string& settings, const Dataset::Args& args = {}) {
  return test::open_source("kind = \"idx\", " + settings, args);
}

std::string error_of(const std::string& settings, const Dataset::Args& args = {}) {
  return test::source_error("kind = \"idx\", " + settings, args);
}

class IdxSource : public testing::Test {
 protected:
  IdxSource() {
    // Three 2 x 2 pictures of classes 0, 2, 1 and one to test.
    put_file(folder_ / "train-images-idx3-ubyte.gz",
             gzip_bytes(idx_bytes({3, 2, 2}, std::string("\0\x33\xff\0aaaabbbb", 12))));
    put_file(folder_ / "train-labels-idx1-ubyte.gz",
             gzip_bytes(idx_bytes({3}, std::string("\0\x02\x01", 3))));
    put_file(folder_ / "t10k-images-idx3-ubyte", idx_bytes({1, 2, 2}, "cccc"));
    put_file(folder_ / "t10k-labels-idx1-ubyte", idx_bytes({1}, "\x01"));
  }
  std::string path() const { return "path = '" + folder_.path().string() + "'"; }
  test::TemporaryDirectory folder_;
};

TEST_F(IdxSource, ReadsBothSplits) {
  const auto train = open(path());
  const DatasetInfo& info = train->info();
  EXPECT_EQ(info.kind, "idx");
  EXPECT_EQ(info.path, folder_.path().string());
  EXPECT_EQ(info.count, 3);
  EXPECT_EQ(info.channels, 1);
  EXPECT_EQ(info.height, 2);
  EXPECT_EQ(info.width, 2);
  EXPECT_EQ(info.classes, 3);
  EXPECT_TRUE(info.class_names.empty());
  EXPECT_FALSE(info.latent);
  std::vector<float> sample(4);
  EXPECT_EQ(train->read(0, sample), 0);
  EXPECT_THAT(sample, ElementsAre(-1.0f, testing::FloatEq(-0.6f), 1.0f, -1.0f));
  EXPECT_EQ(train->read(2, sample), 1);
  EXPECT_EQ(sample[0], to_unit('b'));
  EXPECT_EQ(train->label(1), 2);

  const auto test = open(path(), {.split = "test"});
  EXPECT_EQ(test->info().count, 1);
  EXPECT_EQ(test->info().classes, 3);  // as in the train split, although 1 is its largest label
  EXPECT_EQ(test->read(0, sample), 1);
}

TEST_F(IdxSource, TakesNamedFiles) {
  const auto dataset = open(path() +
                            ", train_images = 't10k-images-idx3-ubyte', "
                            "train_labels = 't10k-labels-idx1-ubyte', class_names = ['a', 'b']");
  EXPECT_EQ(dataset->info().count, 1);
  EXPECT_EQ(dataset->info().classes, 2);
  EXPECT_THAT(dataset->info().class_names, ElementsAre("a", "b"));
}

TEST_F(IdxSource, Resizes) {
  const auto dataset = open(path() + ", size = 4");
  EXPECT_EQ(dataset->info().height, 4);
  EXPECT_EQ(dataset->info().width, 4);
  std::vector<float> sample(16);
  EXPECT_EQ(dataset->read(1, sample), 2);
  EXPECT_THAT(sample, testing::Each(to_unit('a')));
  EXPECT_EQ(open(path(), {.height = 8, .width = 8})->info().height, 8);
}

TEST_F(IdxSource, RefusesLabelsOutOfRange) {
  EXPECT_THAT(error_of(path() + ", classes = 2"),
              testing::AllOf(HasSubstr("train-labels-idx1-ubyte.gz"),
                             HasSubstr("label 2 of sample 1 is out of range"),
                             HasSubstr("2 classes, 0 to 1")));
  put_file(folder_ / "t10k-labels-idx1-ubyte", idx_bytes({1}, "\x03"));
  EXPECT_THAT(error_of(path(), {.split = "test"}), HasSubstr("label 3 of sample 0"));
}

TEST_F(IdxSource, AsksWhetherLabelsCountFromOne) {
  put_file(folder_ / "train-labels-idx1-ubyte.gz",
           gzip_bytes(idx_bytes({3}, std::string("\x01\x02\x03", 3))));
  EXPECT_THAT(error_of(path() + ", classes = 3"), HasSubstr("do the labels count from 1?"));
  // Without a number of classes, 0 is one that nothing belongs to.
  EXPECT_THAT(notices(*open(path()), "train"),
              ElementsAre("1 of 4 classes has no training sample and will not be learned: 0; do "
                          "the labels count from 1? They go from 0"));
}

TEST_F(IdxSource, NamesFilesThatAreNoneOfTheFour) {
  EXPECT_THAT(open(path())->info().notices, ElementsAre());
  put_file(folder_ / "train-labels-idx1-ubyte", "unpacked");  // the packed one is read
  put_file(folder_ / "extra-images-idx3-ubyte", "more");
  EXPECT_THAT(open(path())->info().notices,
              ElementsAre(HasSubstr("'extra-images-idx3-ubyte' and 'train-labels-idx1-ubyte'")));
}

TEST_F(IdxSource, RefusesMissingDamagedAndForeignFiles) {
  EXPECT_THAT(error_of("path = '" + (folder_ / "none").string() + "'"),
              testing::AllOf(HasSubstr("none/train-images-idx3-ubyte', with .gz or without"),
                             HasSubstr("data.source.train_images"),
                             HasSubstr("apt-get install dataset-fashion-mnist")));
  EXPECT_THAT(error_of(path() + ", train_images = 'none.gz'"), HasSubstr("none.gz"));
  EXPECT_THAT(error_of(path() + ", train_images = 't10k-images-idx3-ubyte'"),
              HasSubstr("do not belong together"));
  EXPECT_THAT(error_of(path() + ", train_images = 't10k-labels-idx1-ubyte'"),
              HasSubstr("1 dimensions instead of 3"));
  const fs::path file = folder_ / "t10k-images-idx3-ubyte";
  fs::resize_file(file, 19);
  EXPECT_THAT(error_of(path(), {.split = "test"}), HasSubstr("is it cut short?"));
}

TEST_F(IdxSource, RefusesClassesThatDoNotFitTheNames) {
  EXPECT_THAT(error_of(path() + ", classes = 3, class_names = ['a']"), HasSubstr("class_names"));
}

TEST_F(IdxSource, IsRecognised) { EXPECT_EQ(recognise_kind(folder_.path()), "idx"); }

TEST(FashionMnist, IsTheDefault) {
  if (!fs::exists("/usr/share/datasets/fashion-mnist"))
    GTEST_SKIP() << "Debian's dataset-fashion-mnist is not installed";
  const auto test = open_dataset(DataConfig{}, {.split = "test"});
  const DatasetInfo& info = test->info();
  EXPECT_EQ(info.count, 10'000);
  EXPECT_EQ(info.height, 28);
  EXPECT_EQ(info.width, 28);
  EXPECT_EQ(info.classes, 10);
  // The README of the data: 1,000 test images of each class; the first is an ankle boot.
  std::vector<int64_t> counts(10);
  for (int64_t i = 0; i < info.count; ++i) ++counts[static_cast<size_t>(test->label(i))];
  EXPECT_THAT(counts, testing::Each(1000));
  EXPECT_EQ(info.class_names.at(static_cast<size_t>(test->label(0))), "Ankle boot");
}

}  // namespace
}  // namespace gallop::data
