#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gallop/base/file.h"
#include "gallop/data/recognise.h"
#include "gallop/data/summary.h"
#include "gallop/formats/resize.h"
#include "tests/data/open_source.h"
#include "tests/support/data_files.h"
#include "tests/support/temporary_directory.h"

namespace gallop::data {
namespace {

using formats::Image;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class FolderSource : public testing::Test {
 protected:
  /// A grey picture of one colour.
  void put(const std::string& name, uint8_t colour, int64_t width = 2, int64_t height = 2) const {
    fs::create_directories((folder_ / name).parent_path());
    write_png(
        folder_ / name,
        Image{width, height, 1, std::vector<uint8_t>(static_cast<size_t>(width * height), colour)});
  }
  std::string source(const std::string& more = "") const {
    return "kind = 'folder', path = '" + folder_.path().string() + "'" + more;
  }
  /// The first value of each sample as a byte.
  static std::vector<int> colours(const Dataset& dataset) {
    std::vector<int> result;
    for (int64_t i = 0; i < dataset.info().count; ++i)
      result.push_back(
          static_cast<int>(std::lround((test::sample_of(dataset, i)[0] + 1) * 127.5f)));
    return result;
  }
  static std::vector<int64_t> labels(const Dataset& dataset) {
    std::vector<int64_t> result;
    for (int64_t i = 0; i < dataset.info().count; ++i) result.push_back(dataset.label(i));
    return result;
  }
  test::TemporaryDirectory folder_;
};

TEST_F(FolderSource, HasAClassASubfolder) {
  put("dog/b.PNG", 3);
  put("dog/a.png", 2);
  put("dog/more/c.png", 4);
  put("cat/z.png", 1);
  test::put_file(folder_ / "dog/notes.txt", "not a picture");
  test::put_file(folder_ / "cat/._z.png", "what some systems leave");
  test::put_file(folder_ / ".cache/x.png", "hidden");
  const auto train = test::open_source(source(", held_out = 0.25"));
  const DatasetInfo& info = train->info();
  EXPECT_EQ(info.kind, "folder");
  EXPECT_EQ(info.channels, 3);
  EXPECT_EQ(info.height, 2);
  EXPECT_EQ(info.width, 2);
  EXPECT_EQ(info.classes, 2);
  EXPECT_THAT(info.class_names, ElementsAre("cat", "dog"));
  // File order: cat/z, dog/a, dog/b, dog/more/c; the first of each four is held out whose class
  // has another one.
  EXPECT_THAT(colours(*train), ElementsAre(1, 3, 4));
  EXPECT_THAT(labels(*train), ElementsAre(0, 1, 1));
  const auto test = test::open_source(source(", held_out = 0.25"), {.split = "test"});
  EXPECT_THAT(colours(*test), ElementsAre(2));
  EXPECT_THAT(labels(*test), ElementsAre(1));
}

TEST_F(FolderSource, HasNoClassesWithoutSubfolders) {
  for (const int i : {1, 2, 3}) put(std::to_string(i) + ".png", static_cast<uint8_t>(i));
  const auto train = test::open_source(source());
  EXPECT_EQ(train->info().classes, 0);
  EXPECT_TRUE(train->info().class_names.empty());
  EXPECT_THAT(colours(*train), ElementsAre(2, 3));
  EXPECT_THAT(labels(*train), ElementsAre(-1, -1));
}

TEST_F(FolderSource, TakesTheSplitsThatAreThere) {
  put("train/a/1.png", 1);
  put("train/b/2.png", 2);
  put("val/b/3.png", 3);
  EXPECT_THAT(colours(*test::open_source(source())), ElementsAre(1, 2));
  const auto val = test::open_source(source(), {.split = "test"});
  EXPECT_THAT(colours(*val), ElementsAre(3));
  EXPECT_THAT(labels(*val), ElementsAre(1));  // b is class 1, although alone here
  put("test/a/4.png", 4);
  EXPECT_THAT(colours(*test::open_source(source(), {.split = "test"})), ElementsAre(4));
}

TEST_F(FolderSource, HoldsOutFromTrainWhereThatIsAlone) {
  put("train/1.png", 1);
  put("train/2.png", 2);
  EXPECT_THAT(colours(*test::open_source(source())), ElementsAre(2));
  EXPECT_THAT(colours(*test::open_source(source(), {.split = "test"})), ElementsAre(1));
}

TEST_F(FolderSource, CropsAndConverts) {
  const fs::path images = fs::path(GALLOP_TEST_DATA) / "images";
  for (const char* name : {"a.png", "b.png"}) fs::copy_file(images / "photo.png", folder_ / name);
  const auto expect_sample = [&](const std::string& settings, const Image& want) {
    const auto dataset = test::open_source(source(settings));
    ASSERT_EQ(dataset->info().channels, want.channels);
    ASSERT_EQ(dataset->info().width, want.width);
    const auto sample = test::sample_of(*dataset, 0);
    const auto plane = static_cast<size_t>(want.width * want.height);
    for (size_t i = 0; i < sample.size(); ++i)
      ASSERT_EQ(sample[i],
                to_unit(want.pixels[i % plane * static_cast<size_t>(want.channels) + i / plane]));
  };
  expect_sample(", size = 16", formats::read_image(images / "photo-adm-16.png"));
  expect_sample(", size = 16, crop = 'bicubic'",
                formats::read_image(images / "photo-square-16.png"));
  expect_sample(", channels = 1", formats::read_image(images / "photo-grey.png"));
  EXPECT_EQ(test::open_source(source(), {.height = 8, .width = 8})->info().height, 8);
}

TEST_F(FolderSource, RefusesImagesOfSeveralSizesUnlessTheyAreCropped) {
  put("1.png", 1);
  put("2.png", 2);
  put("3.png", 3, 3, 2);
  EXPECT_THAT(test::source_error(source()),
              AllOf(HasSubstr("3.png' has 3 x 2 pixels"), HasSubstr("set task.data.source.size")));
  EXPECT_EQ(test::source_error(source(", size = 2")), "");
}

TEST_F(FolderSource, RefusesEmptyFolders) {
  EXPECT_THAT(test::source_error("kind = 'folder'"), HasSubstr("data.source.path is not set"));
  EXPECT_THAT(test::source_error(source()), HasSubstr("holds no images"));
  EXPECT_THAT(test::source_error("kind = 'folder', path = '" + (folder_ / "none").string() + "'"),
              HasSubstr("none': No such file"));
  fs::create_directory(folder_ / "b");
  test::put_file(folder_ / "a/1.gif", "GIF89a");
  EXPECT_THAT(test::source_error(source()),
              AllOf(HasSubstr("holds no images"), HasSubstr("': 1 .gif")));
}

TEST_F(FolderSource, HasAClassForAFolderWithoutImages) {
  put("a/1.png", 1);
  put("c/2.png", 2);
  fs::create_directory(folder_ / "b");
  const auto train = test::open_source(source());
  EXPECT_THAT(labels(*train), ElementsAre(0, 2));
  EXPECT_THAT(notices(*train, "train"),
              testing::Contains(HasSubstr(
                  "1 of 3 classes has no training sample and will not be learned: 1 (b)")));
}

TEST_F(FolderSource, TrainsOnASingleImage) {
  put("1.png", 7);
  const auto train = test::open_source(source());
  EXPECT_THAT(colours(*train), ElementsAre(7));
  EXPECT_THAT(train->info().notices, ElementsAre(HasSubstr("a single sample")));
  EXPECT_THAT(train->info().detail, HasSubstr("nothing held out"));
  const auto test = test::open_source(source(), {.split = "test"});
  EXPECT_THAT(colours(*test), ElementsAre(7));
  EXPECT_THAT(test->info().notices, ElementsAre());  // said once
}

TEST_F(FolderSource, KeepsATrainingImageOfEachClass) {
  for (const char* name : {"a/1.png", "b/1.png", "c/1.png"}) put(name, 5);
  for (const char* split : {"train", "test"})
    EXPECT_THAT(labels(*test::open_source(source(", held_out = 0.5"), {.split = split})),
                ElementsAre(0, 1, 2));
  EXPECT_THAT(test::open_source(source())->info().notices,
              ElementsAre(HasSubstr("each class has a single sample")));
}

TEST_F(FolderSource, TurnsImagesUnlessTheyAreLeft) {
  const fs::path images = fs::path(GALLOP_TEST_DATA) / "images";
  for (const char* name : {"a.jpg", "b.jpg"})
    fs::copy_file(images / "turned-6.jpg", folder_ / name);
  EXPECT_EQ(test::open_source(source())->info().width, 40);
  EXPECT_EQ(test::open_source(source(", upright = false"))->info().width, 24);
}

TEST_F(FolderSource, DecodesAnImageOnceAsLongAsThereIsRoom) {
  for (const char* name : {"1.png", "2.png", "3.png"}) put(name, 10);
  const auto kept = test::open_source(source(", held_out = 0.01"));
  const auto read_again = test::open_source(source(", held_out = 0.01, cache = 0"));
  EXPECT_THAT(colours(*kept), ElementsAre(10, 10));
  EXPECT_THAT(colours(*read_again), ElementsAre(10, 10));
  for (const char* name : {"2.png", "3.png"}) put(name, 20);
  EXPECT_THAT(colours(*kept), ElementsAre(10, 10));
  EXPECT_THAT(labels(*kept), ElementsAre(-1, -1));
  EXPECT_THAT(colours(*read_again), ElementsAre(20, 20));
}

TEST_F(FolderSource, CountsWhatItDoesNotRead) {
  for (const char* name : {"train/a/1.png", "train/a/2.png", "Val/a/1.png"}) put(name, 1);
  test::put_file(folder_ / "train/a/3.bmp", "BM");
  test::put_file(folder_ / "Val/a/4.tiff", "II");
  const auto train = test::open_source(source());
  EXPECT_THAT(train->info().notices, ElementsAre(HasSubstr("train': 1 .bmp")));
  EXPECT_THAT(test::open_source(source(), {.split = "test"})->info().notices,
              ElementsAre(HasSubstr("Val': 1 .tiff")));
}

TEST_F(FolderSource, RefusesImagesBesideSubfolders) {
  put("a/1.png", 1);
  put("2.png", 2);
  EXPECT_THAT(test::source_error(source()), HasSubstr("holds images and sub-folders"));
}

TEST_F(FolderSource, RefusesClassesThatTrainDoesNotHave) {
  put("train/apple/1.png", 1);
  put("train/banana/1.png", 1);
  put("test/aple/1.png", 1);
  EXPECT_THAT(test::source_error(source(), {.split = "test"}),
              AllOf(HasSubstr("aple' is no class"), HasSubstr("did you mean 'apple'?")));
  fs::remove_all(folder_ / "test");
  put("test/1.png", 1);
  EXPECT_THAT(test::source_error(source(), {.split = "test"}), HasSubstr("has no sub-folders"));
}

TEST_F(FolderSource, NamesTheFileThatIsNoImage) {
  for (const char* name : {"1.jpg", "2.jpg", "3.jpg"}) test::put_file(folder_ / name, "no JPEG");
  EXPECT_THAT(test::source_error(source(", size = 2")),
              AllOf(HasSubstr("2.jpg'"), HasSubstr("neither a PNG nor a JPEG nor a WebP")));
  put("2.jpg", 5);  // a PNG by its content: such files are in ImageNet
  const auto dataset = test::open_source(source(", size = 2"));
  EXPECT_THROW(test::sample_of(*dataset, 1), Error);
}

TEST_F(FolderSource, RefusesTwoChannels) {
  EXPECT_THAT(test::source_error(source(", channels = 2")), HasSubstr("channels = 2"));
}

TEST_F(FolderSource, IsRecognised) {
  put("train/a/1.png", 1);
  EXPECT_EQ(recognise_kind(folder_.path()), "folder");
}

}  // namespace
}  // namespace gallop::data
