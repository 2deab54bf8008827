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
  /// A white picture of 3 x 2 pixels.
  void put_png(const std::string& name) const {
    fs::create_directories((folder_ / name).parent_path());
    formats::write_png(folder_ / name, {3, 2, 3, std::vector<uint8_t>(18, 255)});
  }
  TemporaryDirectory folder_;
};

TEST_F(DataInfo, SaysWhatAnIdxFolderHolds) {
  put_idx();
  const auto result = run({"data", "--out", "examples.png"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("kind       idx, recognised by its files\n"));
  EXPECT_THAT(result.out, HasSubstr("train      4 samples\n"));
  EXPECT_THAT(result.out, HasSubstr("test       1 samples\n"));
  EXPECT_THAT(result.out, HasSubstr("shape      1 x 2 x 2 "));
  EXPECT_THAT(result.out, HasSubstr("mean       0.0000\n"));
  EXPECT_THAT(result.out, HasSubstr("deviation  1.0000  (of 4 training samples)\n"));
  EXPECT_THAT(result.out, HasSubstr("classes    2, each of 2 to 2 training samples\n"));
  EXPECT_THAT(result.out, ContainsRegex("    0 +2 +1\n +1 +2 +0\n"));
  EXPECT_THAT(result.out, HasSubstr("sheet      examples.png: 4 training samples"));
  // Two rows and columns of 2 pixels enlarged to 64, with a gap of 2.
  const auto sheet = formats::read_image(folder_ / "examples.png");
  EXPECT_EQ(sheet.width, 130);
  EXPECT_EQ(sheet.height, 130);
  EXPECT_EQ(sheet.pixels.front(), 0);  // the first of class 0 is black
  EXPECT_EQ(sheet.pixels[129], 255);   // its second white
}

TEST_F(DataInfo, LeavesNothingBehindUnlessItIsTold) {
  put_idx();
  const auto there = [&] {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      names.push_back(entry.path().filename().string());
    return names;
  };
  const auto result = run({"data", "--kind", "idx"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("sheet      none: --out FILE draws examples\n"));
  EXPECT_THAT(there(), testing::ElementsAre("data"));
  EXPECT_EQ(run({"data", "--kind", "idx", "--out", "sheet.png"}).status, 0);
  EXPECT_THAT(there(), testing::UnorderedElementsAre("data", "sheet.png"));
}

TEST_F(DataInfo, ListsClassesByNumberAndKeepsNamesOnTheirLine) {
  for (const char* name : {"10", "9", "a\nb", "x\x1b[2J", "K\xc3\xa4tzchen"})
    put_png(std::string("data/") + name + "/1.png");
  const auto result = run({"data"});
  ASSERT_EQ(result.status, 0) << result.err;
  // Names are as wide as the widest, which has 8 characters.
  const auto row = [](const std::string& number, const std::string& name, size_t characters) {
    return "    " + number + "  " + name + std::string(8 - characters, ' ') +
           "        1        1\n";
  };
  EXPECT_THAT(result.out, HasSubstr("label  name        train     test\n"));
  EXPECT_THAT(result.out, HasSubstr(row("0", "10", 2)));
  EXPECT_THAT(result.out, HasSubstr(row("1", "9", 1)));
  EXPECT_THAT(result.out, HasSubstr(row("2", "K\xc3\xa4tzchen", 8)));
  EXPECT_THAT(result.out, HasSubstr(row("3", "a\\nb", 4)));
  EXPECT_THAT(result.out, HasSubstr(row("4", "x\\x1b[2J", 8)));
  EXPECT_EQ(result.out.find('\x1b'), std::string::npos);
}

TEST_F(DataInfo, ListsEveryClassOnDemand) {
  for (int i = 0; i < 45; ++i) put_png("data/c" + std::to_string(100 + i) + "/1.png");
  const auto some = run({"data"}), all = run({"data", "--classes"});
  EXPECT_THAT(some.out, HasSubstr("... and 5 more: --classes lists all\n"));
  EXPECT_EQ(some.out.find("c144"), std::string::npos);
  EXPECT_THAT(all.out, HasSubstr("   44  c144 "));
  EXPECT_EQ(all.out.find("more"), std::string::npos);
}

TEST_F(DataInfo, TellsWhatIsNotReadAndWhatIsOdd) {
  for (const char* name : {"Train/a/1.png", "Train/b/1.png", "valid/a/1.png"})
    put_png(std::string("data/") + name);
  put_file(folder_ / "data/Train/a/2.gif", "GIF89a");
  put_file(folder_ / "data/valid/b/2.bmp", "BM");
  fs::create_directory(folder_ / "data/Train/c");
  const auto result = run({"data"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("train      2 samples\ntest       1 samples\n"));
  EXPECT_THAT(result.out, HasSubstr("note       not read in 'data/Train': 1 .gif\n"));
  EXPECT_THAT(result.out, HasSubstr("note       not read in 'data/valid': 1 .bmp\n"));
  EXPECT_THAT(result.out, HasSubstr("note       1 of 3 classes has no training sample"));
}

TEST_F(DataInfo, ReadsARecipe) {
  put_idx();
  put_file(folder_ / "recipe.toml",
           "[task.data.source]\npath = \"data\"\nclass_names = [\"cat\", \"dog\"]\n");
  const auto result = run({"recipe.toml", "--set", "task.data.source.size=4"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("shape      1 x 4 x 4 "));
  EXPECT_THAT(result.out, ContainsRegex("1  dog +2 +0\n"));
  expect_error({"recipe.toml", "--kind", "idx"}, "--kind is for folders");
  expect_error({"recipe.toml", "--set", "task.data.source.sise=4"}, "size");
}

TEST_F(DataInfo, ReadsAFolderOfImages) {
  for (const char* name : {"data/a/1.png", "data/a/2.png", "data/b/1.png"}) put_png(name);
  const auto result = run({"data/"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("kind       folder"));
  EXPECT_THAT(result.out, HasSubstr("train      2 samples\n"));
  EXPECT_THAT(result.out, HasSubstr("shape      3 x 2 x 3 "));
  EXPECT_THAT(result.out, HasSubstr("mean       1.0000  1.0000  1.0000\n"));
}

TEST_F(DataInfo, TakesFashionMnistByDefault) {
  if (!fs::exists("/usr/share/datasets/fashion-mnist"))
    GTEST_SKIP() << "Debian's dataset-fashion-mnist is not installed";
  const auto result = run({});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("train      60000 samples\n"));
  EXPECT_THAT(result.out, HasSubstr("test       10000 samples\n"));
  EXPECT_THAT(result.out, ContainsRegex("9  Ankle boot +6000 +1000\n"));
}

// What each kind refuses is tested with the kind; here, that it ends the program as it should.
TEST_F(DataInfo, EndsWithTwoOnBadData) {
  expect_error({"none", "--kind", "idx"}, "apt-get install dataset-fashion-mnist");
  fs::create_directory(folder_ / "data");
  expect_error({"data", "--kind", "folder"}, "holds no images");
  for (const char* name : {"1.jpg", "2.jpg"}) put_file(folder_ / "data" / name, "no JPEG");
  expect_error({"data"}, "neither a PNG nor a JPEG nor a WebP");

  fs::remove_all(folder_ / "data");
  put_idx();
  expect_error({"data", "--set", "task.data.source.classes=1"},
               "label 1 of sample 1 is out of range");
  put_file(folder_ / "data/train-labels-idx1-ubyte", "labels");
  expect_error({"data"}, "is no IDX file");
  const fs::path images = folder_ / "data/train-images-idx3-ubyte.gz";
  fs::resize_file(images, fs::file_size(images) - 3);
  expect_error({"data", "--out", "examples.png"}, "is cut short");
  EXPECT_FALSE(fs::exists(folder_ / "examples.png"));
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
