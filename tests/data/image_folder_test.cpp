#include "gallop/data/image_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "tests/support/data_files.h"
#include "tests/support/temporary_directory.h"

namespace gallop::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ImageFolder : public testing::Test {
 protected:
  /// Files that are listed and never decoded.
  void put(const std::string& name, const std::string& bytes = "x") const {
    test::put_file(folder_ / name, bytes);
  }
  ImageList list(const std::string& below = "") const {
    const fs::path folder = below.empty() ? folder_.path() : folder_ / below;
    return list_images(folder, class_names_in(folder));
  }
  std::string split_error() const {
    try {
      find_splits(folder_.path());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  test::TemporaryDirectory folder_;
};

TEST_F(ImageFolder, ReadsTheUsualEndingsInAnyCase) {
  for (const char* name : {"a.png", "b.JPG", "c.jpeg", "d.jpe", "e.JFIF", "f.webp"}) put(name);
  EXPECT_THAT(list().files, ElementsAre("a.png", "b.JPG", "c.jpeg", "d.jpe", "e.JFIF", "f.webp"));
  EXPECT_THAT(list().notices, IsEmpty());
}

// 8 PNG beside 200 others: what is not read is counted by kind.
TEST_F(ImageFolder, CountsWhatItDoesNotReadByKind) {
  const std::string letters = "abcdefgh";
  for (const char c : letters) put(std::string("1/") + c + ".png");
  for (int i = 0; i < 120; ++i) put("1/" + std::to_string(i) + ".gif");
  for (int i = 0; i < 40; ++i) put("1/" + std::to_string(i) + ".webp");
  for (int i = 0; i < 30; ++i) put("1/more/" + std::to_string(i) + ".BMP");
  for (int i = 0; i < 10; ++i) put("1/" + std::to_string(i) + ".jfif");
  EXPECT_EQ(list().files.size(), 58u);
  EXPECT_THAT(list().notices,
              ElementsAre("not read in '" + folder_.path().string() + "': 120 .gif and 30 .bmp"));
}

TEST_F(ImageFolder, CountsWhatSystemsLeaveBehind) {
  put("a/1.png");
  put("a/._1.png");
  put("a/Thumbs.db");
  put("a/README");
  put("a/2.png", "");
  fs::create_symlink("nowhere", folder_ / "a/3.png");
  put(".cache/1.png");
  put("__MACOSX/1.png");
  EXPECT_THAT(list().files, ElementsAre("a/1.png"));
  EXPECT_THAT(
      list().notices,
      ElementsAre(AllOf(HasSubstr("': 2 hidden, "), HasSubstr("1 '__MACOSX/'"), HasSubstr("1 .db"),
                        HasSubstr("1 empty"), HasSubstr("1 that cannot be opened"),
                        HasSubstr("1 without an ending"))));
}

TEST_F(ImageFolder, SumsUpManyKinds) {
  put("0.png");
  for (int i = 0; i < 20; ++i) put("frame." + std::to_string(i));
  put("\x1b.\n");
  const auto notices = list().notices;
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_THAT(notices[0], HasSubstr(" and 13 of other kinds"));
  EXPECT_EQ(notices[0].find('\n'), std::string::npos);
}

TEST_F(ImageFolder, KnowsSplitsInAnyCase) {
  put("Train/a/1.png");
  put("test/a/1.png");
  const ImageSplits splits = find_splits(folder_.path());
  EXPECT_EQ(splits.train, folder_ / "Train");
  EXPECT_EQ(splits.test, folder_ / "test");
  EXPECT_THAT(splits.notices, IsEmpty());
}

TEST_F(ImageFolder, KnowsTheOtherNamesOfATestSplit) {
  for (const char* name : {"validation", "VALID", "val", "Test"}) {
    put("train/1.png");
    put(std::string(name) + "/1.png");
    EXPECT_EQ(find_splits(folder_.path()).test, folder_ / name);
  }
  // They stand beside each other now.
  EXPECT_THAT(find_splits(folder_.path()).notices,
              ElementsAre(AllOf(HasSubstr("1 'VALID/'"), HasSubstr("1 'val/'"),
                                HasSubstr("the splits are 'train' and 'Test'"))));
}

TEST_F(ImageFolder, TakesTheExactNameOfASplitFirst) {
  put("train/1.png");
  put("Train/1.png");
  EXPECT_EQ(find_splits(folder_.path()).train, folder_ / "train");
  put("Test/1.png");
  put("TEST/1.png");
  EXPECT_THAT(split_error(), HasSubstr("the folders 'TEST' and 'Test': which one is the split?"));
}

TEST_F(ImageFolder, CountsWhatLiesBesideTheSplits) {
  put("train/1.png");
  put("extra/1.png");
  put("2.png");
  put("labels.csv");
  const ImageSplits splits = find_splits(folder_.path());
  EXPECT_EQ(splits.test, "");
  EXPECT_THAT(splits.notices,
              ElementsAre(AllOf(HasSubstr("1 'extra/'"), HasSubstr("1 .png"), HasSubstr("1 .csv"),
                                HasSubstr("'train' and a part of it that is held out"))));
}

TEST_F(ImageFolder, SaysThatASplitWithoutTrainIsAClass) {
  put("Test/1.png");
  put("cats/1.png");
  put("training/1.png");
  const ImageSplits splits = find_splits(folder_.path());
  EXPECT_EQ(splits.train, folder_.path());
  EXPECT_THAT(splits.notices, ElementsAre(AllOf(HasSubstr("'Test' and 'training' of "),
                                                HasSubstr("are taken for classes"))));
  EXPECT_THAT(class_names_in(splits.train), ElementsAre("Test", "cats", "training"));
}

TEST_F(ImageFolder, EndsWhereALinkLeadsInACircle) {
  put("a/1.png");
  fs::create_directory_symlink("..", folder_ / "a/up");
  EXPECT_THROW(list(), Error);
}

}  // namespace
}  // namespace gallop::data
