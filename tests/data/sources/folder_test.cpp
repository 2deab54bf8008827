#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gallop/base/file.h"
#include "gallop/data/recognise.h"
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
  // File order: cat/z, dog/a, dog/b, dog/more/c; the first of each four is held out.
  EXPECT_THAT(colours(*train), ElementsAre(2, 3, 4));
  EXPECT_THAT(labels(*train), ElementsAre(1, 1, 1));
  const auto test = test::open_source(source(", held_out = 0.25"), {.split = "test"});
  EXPECT_THAT(colours(*test), ElementsAre(1));
  EXPECT_THAT(labels(*test), ElementsAre(0));
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
              AllOf(HasSubstr("3.png' has 3 x 2 pixels"), HasSubstr("set data.source.size")));
  EXPECT_EQ(test::source_error(source(", size = 2")), "");
}

TEST_F(FolderSource, RefusesEmptyFolders) {
  EXPECT_THAT(test::source_error("kind = 'folder'"), HasSubstr("data.source.path is not set"));
  EXPECT_THAT(test::source_error(source()), HasSubstr("holds no images"));
  EXPECT_THAT(test::source_error("kind = 'folder', path = '" + (folder_ / "none").string() + "'"),
              HasSubstr("none': No such file"));
  put("a/1.png", 1);
  fs::create_directory(folder_ / "b");
  EXPECT_THAT(test::source_error(source()), HasSubstr("b' holds no images"));
}

TEST_F(FolderSource, RefusesAFolderThatHoldsOneImage) {
  put("1.png", 1);
  EXPECT_THAT(test::source_error(source()), HasSubstr("takes two or more"));
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
              AllOf(HasSubstr("2.jpg'"), HasSubstr("neither a PNG nor a JPEG")));
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
