#include "gallop/formats/resize.h"

#include <gtest/gtest.h>

#include "gallop/base/error.h"

namespace gallop::formats {
namespace {

Image picture(const std::string& name) {
  return read_image(fs::path(GALLOP_TEST_DATA) / "images" / name);
}

void expect_same(const Image& got, const std::string& name) {
  const Image want = picture(name);
  ASSERT_EQ(got.width, want.width) << name;
  ASSERT_EQ(got.height, want.height) << name;
  ASSERT_EQ(got.channels, want.channels) << name;
  EXPECT_EQ(got.pixels, want.pixels) << name;
}

// The expected pictures were made by Pillow 9.5, see tests/data/images/README.md.
TEST(Resize, IsToTheBitWhatPillowGives) {
  const Image photo = picture("photo.png");
  expect_same(resize(photo, 37, 25, Filter::box), "photo-box-37x25.png");
  expect_same(resize(photo, 31, 63, Filter::bicubic), "photo-bicubic-31x63.png");
  expect_same(resize(photo, 80, 9, Filter::bicubic), "photo-bicubic-80x9.png");
  EXPECT_EQ(resize(photo, 75, 50, Filter::bicubic).pixels, photo.pixels);
}

TEST(CropSquare, IsToTheBitWhatAdmDoesToImageNet) {
  const Image photo = picture("photo.png");
  for (const int64_t side : {11, 16, 64}) {
    expect_same(crop_square(photo, side, Crop::adm), "photo-adm-" + std::to_string(side) + ".png");
    expect_same(crop_square(photo, side, Crop::bicubic),
                "photo-square-" + std::to_string(side) + ".png");
  }
}

TEST(Resize, BoxIsTheMeanOfWhatAPixelCovers) {
  // (10 + 20 + 30 + 41) / 4 = 25.25
  const Image small = resize({2, 2, 1, {10, 20, 30, 41}}, 1, 1, Filter::box);
  EXPECT_NEAR(small.pixels[0], 25, 1);  // two roundings
  EXPECT_EQ(resize({1, 1, 3, {1, 2, 3}}, 2, 1, Filter::box).pixels,
            (std::vector<uint8_t>{1, 2, 3, 1, 2, 3}));
}

TEST(Resize, KeepsAnEvenColour) {
  for (const Filter filter : {Filter::box, Filter::bicubic}) {
    const Image even{9, 7, 1, std::vector<uint8_t>(63, 200)};
    EXPECT_EQ(resize(even, 4, 20, filter).pixels, std::vector<uint8_t>(80, 200));
  }
}

TEST(Resize, RefusesImpossibleSizes) {
  const Image dot{1, 1, 1, {5}};
  EXPECT_THROW(resize(dot, 0, 1, Filter::box), Error);
  EXPECT_THROW(resize({0, 0, 1, {}}, 2, 2, Filter::box), Error);
  EXPECT_THROW(resize(dot, 1 << 20, 1 << 20, Filter::box), Error);
  // A strip whose shorter side would be enlarged 256 times, and the other with it.
  EXPECT_THROW(crop_square({1 << 20, 1, 1, std::vector<uint8_t>(1 << 20)}, 256, Crop::adm), Error);
  EXPECT_THROW(crop_square(dot, 0, Crop::adm), Error);
  EXPECT_THROW(crop_square({0, 4, 1, {}}, 2, Crop::bicubic), Error);
}

}  // namespace
}  // namespace gallop::formats
