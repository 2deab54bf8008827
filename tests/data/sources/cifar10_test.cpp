#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/file.h"
#include "gallop/data/recognise.h"
#include "tests/data/open_source.h"
#include "tests/support/data_files.h"
#include "tests/support/temporary_directory.h"

namespace gallop::data {
namespace {

using test::put_file;
using testing::HasSubstr;

/// A picture whose red is `red` everywhere, green counts pixels, blue is 255 - green.
std::string record(char label, char red) {
  std::string bytes{label};
  bytes.append(1024, red);
  for (int i = 0; i < 1024; ++i) bytes.push_back(static_cast<char>(i % 256));
  for (int i = 0; i < 1024; ++i) bytes.push_back(static_cast<char>(255 - i % 256));
  return bytes;
}

class Cifar10Source : public testing::Test {
 protected:
  Cifar10Source() {
    for (int i = 1; i <= 5; ++i)
      put_file(files_ / ("data_batch_" + std::to_string(i) + ".bin"),
               record(static_cast<char>(i), '\0') + record('\0', static_cast<char>(i)));
    put_file(files_ / "test_batch.bin", record('\x09', '\x33'));
  }
  std::string source(const fs::path& path) const {
    return "kind = 'cifar10', path = '" + path.string() + "'";
  }
  test::TemporaryDirectory folder_;
  fs::path files_ = folder_ / "cifar-10-batches-bin";
};

TEST_F(Cifar10Source, NamesBatchesThatAreNoneOfTheSix) {
  EXPECT_TRUE(test::open_source(source(files_))->info().notices.empty());
  put_file(files_ / "data_batch_6.bin", record('\0', '\0'));
  EXPECT_THAT(test::open_source(source(files_))->info().notices,
              testing::ElementsAre(HasSubstr("'data_batch_6.bin'")));
}

TEST_F(Cifar10Source, ReadsBothSplits) {
  const auto train = test::open_source(source(files_));
  const DatasetInfo& info = train->info();
  EXPECT_EQ(info.kind, "cifar10");
  EXPECT_EQ(info.count, 10);
  EXPECT_EQ(info.channels, 3);
  EXPECT_EQ(info.height, 32);
  EXPECT_EQ(info.width, 32);
  EXPECT_EQ(info.classes, 10);
  EXPECT_EQ(info.class_names.at(9), "truck");
  EXPECT_EQ(train->label(8), 5);
  EXPECT_EQ(train->label(9), 0);
  EXPECT_EQ(test::sample_of(*train, 9)[0], to_unit(5));

  const auto test = test::open_source(source(folder_.path()), {.split = "test"});
  EXPECT_EQ(test->info().count, 1);
  EXPECT_EQ(test->label(0), 9);
  const auto sample = test::sample_of(*test, 0);
  for (size_t i = 0; i < 1024; ++i) {
    EXPECT_EQ(sample[i], to_unit(0x33));
    EXPECT_EQ(sample[1024 + i], to_unit(static_cast<uint8_t>(i)));
    EXPECT_EQ(sample[2048 + i], to_unit(static_cast<uint8_t>(255 - i % 256)));
  }
}

TEST_F(Cifar10Source, Resizes) {
  EXPECT_EQ(test::open_source(source(files_) + ", size = 16")->info().width, 16);
}

TEST_F(Cifar10Source, RefusesMissingAndDamagedFiles) {
  EXPECT_THAT(test::source_error("kind = 'cifar10'"), HasSubstr("data.source.path is not set"));
  const fs::path file = files_ / "data_batch_3.bin";
  fs::resize_file(file, 3073 + 100);
  EXPECT_THAT(test::source_error(source(files_)),
              testing::AllOf(HasSubstr("data_batch_3.bin"), HasSubstr("3173 bytes")));
  fs::resize_file(file, 0);
  EXPECT_THAT(test::source_error(source(files_)), HasSubstr("0 bytes"));
  fs::remove(file);
  EXPECT_THAT(test::source_error(source(files_)), HasSubstr("data_batch_3.bin': No such file"));
}

TEST_F(Cifar10Source, RefusesLabelsOutOfRange) {
  put_file(files_ / "test_batch.bin", record('\x01', '\0') + record('\x0a', '\0'));
  EXPECT_THAT(test::source_error(source(files_), {.split = "test"}),
              HasSubstr("label 10 of picture 1 is out of range"));
}

TEST_F(Cifar10Source, IsRecognised) {
  EXPECT_EQ(recognise_kind(files_), "cifar10");
  EXPECT_EQ(recognise_kind(folder_.path()), "cifar10");
}

}  // namespace
}  // namespace gallop::data
