#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "gallop/formats/image.h"
#include "tests/support/data_files.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

namespace fs = std::filesystem;
using testing::ContainsRegex;
using testing::HasSubstr;

class DataInfo : public testing::Test {
 protected:
  ProgramResult run(std::vector<std::string> args) const {
    args.insert(args.begin(), {"data", "info"});
    ProgramOptions options;
    options.cwd = folder_.path();
    return run_program(args, options);
  }
  void expect_error(const std::vector<std::string>& args, const std::string& text) const {
    const auto result = run(args);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.err, testing::StartsWith("gallop: error: "));
    EXPECT_THAT(result.err, HasSubstr(text));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
  /// Four 2 x 2 pictures of classes 0 and 1 to train, one to test.
  void put_idx(const std::string& labels = std::string("\0\1\0\1", 4)) const {
    put_file(folder_ / "data/train-images-idx3-ubyte.gz",
             gzip_bytes(idx_bytes({4, 2, 2}, std::string(8, '\0') + std::string(8, '\xff'))));
    put_file(folder_ / "data/train-labels-idx1-ubyte", idx_bytes({4}, labels));
    put_file(folder_ / "data/t10k-images-idx3-ubyte", idx_bytes({1, 2, 2}, "abcd"));
    put_file(folder_ / "data/t10k-labels-idx1-ubyte", idx_bytes({1}, std::string("\0", 1)));
  }
  TemporaryDirectory folder_;
};

TEST_F(DataInfo, SaysWhatAnIdxFolderHolds) {
  put_idx();
  const auto result = run({"data"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("kind       idx, recognised by its files\n"));
  EXPECT_THAT(result.out, HasSubstr("train      4 samples\n"));
  EXPECT_THAT(result.out, HasSubstr("test       1 samples\n"));
  EXPECT_THAT(result.out, HasSubstr("shape      1 x 2 x 2 "));
  EXPECT_THAT(result.out, HasSubstr("mean       0.0000\n"));
  EXPECT_THAT(result.out, HasSubstr("deviation  1.0000  (of 4 training samples)\n"));
  EXPECT_THAT(result.out, HasSubstr("classes    2, each of 2 to 2 training samples\n"));
  EXPECT_THAT(result.out, ContainsRegex("    0 +2 +1\n +1 +2 +0\n"));
  EXPECT_THAT(result.out, HasSubstr("sheet      data-examples.png: 4 training samples"));
  // Two rows and columns of 2 pixels enlarged to 64, with a gap of 2.
  const auto sheet = formats::read_image(folder_ / "data-examples.png");
  EXPECT_EQ(sheet.width, 130);
  EXPECT_EQ(sheet.height, 130);
  EXPECT_EQ(sheet.pixels.front(), 0);  // the first of class 0 is black
  EXPECT_EQ(sheet.pixels[129], 255);   // its second white
}

TEST_F(DataInfo, DrawsWhereItIsTold) {
  put_idx();
  EXPECT_EQ(run({"data", "--out", "sheet.png", "--kind", "idx"}).status, 0);
  EXPECT_TRUE(fs::exists(folder_ / "sheet.png"));
  EXPECT_FALSE(fs::exists(folder_ / "data-examples.png"));
}

TEST_F(DataInfo, ReadsARecipe) {
  put_idx();
  put_file(folder_ / "recipe.toml",
           "[data.source]\npath = \"data\"\nclass_names = [\"cat\", \"dog\"]\n");
  const auto result = run({"recipe.toml", "--set", "data.source.size=4"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("shape      1 x 4 x 4 "));
  EXPECT_THAT(result.out, ContainsRegex("1  dog +2 +0\n"));
  expect_error({"recipe.toml", "--kind", "idx"}, "--kind is for folders");
  expect_error({"recipe.toml", "--set", "data.source.sise=4"}, "size");
}

TEST_F(DataInfo, ReadsAFolderOfImages) {
  for (const char* name : {"a/1.png", "a/2.png", "b/1.png"}) {
    fs::create_directories((folder_ / "data" / name).parent_path());
    formats::write_png(folder_ / "data" / name, {3, 2, 3, std::vector<uint8_t>(18, 255)});
  }
  const auto result = run({"data/"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("kind       folder"));
  EXPECT_THAT(result.out, HasSubstr("train      2 samples\n"));
  EXPECT_THAT(result.out, HasSubstr("shape      3 x 2 x 3 "));
  EXPECT_THAT(result.out, HasSubstr("mean       1.0000  1.0000  1.0000\n"));
  EXPECT_TRUE(fs::exists(folder_ / "data-examples.png"));
}

TEST_F(DataInfo, TakesFashionMnistByDefault) {
  if (!fs::exists("/usr/share/datasets/fashion-mnist"))
    GTEST_SKIP() << "Debian's dataset-fashion-mnist is not installed";
  const auto result = run({});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("train      60000 samples\n"));
  EXPECT_THAT(result.out, HasSubstr("test       10000 samples\n"));
  EXPECT_THAT(result.out, ContainsRegex("9  Ankle boot +6000 +1000\n"));
  EXPECT_TRUE(fs::exists(folder_ / "fashion-mnist-examples.png"));
}

// What each kind refuses is tested with the kind; here, that it ends the program as it should.
TEST_F(DataInfo, EndsWithTwoOnBadData) {
  expect_error({"none", "--kind", "idx"}, "apt-get install dataset-fashion-mnist");
  fs::create_directory(folder_ / "data");
  expect_error({"data", "--kind", "folder"}, "holds no images");
  for (const char* name : {"1.jpg", "2.jpg"}) put_file(folder_ / "data" / name, "no JPEG");
  expect_error({"data"}, "neither a PNG nor a JPEG");

  fs::remove_all(folder_ / "data");
  put_idx();
  expect_error({"data", "--set", "data.source.classes=1"}, "label 1 of sample 1 is out of range");
  put_file(folder_ / "data/train-labels-idx1-ubyte", "labels");
  expect_error({"data"}, "is no IDX file");
  const fs::path images = folder_ / "data/train-images-idx3-ubyte.gz";
  fs::resize_file(images, fs::file_size(images) - 3);
  expect_error({"data"}, "is cut short");
  EXPECT_FALSE(fs::exists(folder_ / "data-examples.png"));
}

TEST_F(DataInfo, LeavesWhatIsThereOnAnError) {
  put_idx();
  put_file(folder_ / "folder.png/x", "");
  expect_error({"data", "--out", "folder.png"}, "it is a folder");
  expect_error({"data", "--out", "none/sheet.png"}, "none/");
  EXPECT_TRUE(fs::exists(folder_ / "folder.png/x"));
}

}  // namespace
}  // namespace gallop::test
