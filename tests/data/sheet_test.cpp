#include "gallop/data/sheet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gallop/base/error.h"

namespace gallop::data {
namespace {

using formats::Image;

TEST(Sheet, TurnsASampleIntoAPicture) {
  // -1 is 0, 1 is 255, v is (v + 1) * 127.5 rounded; what is outside is clamped.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> sample{-1.0f, 1.0f, 0.0f, -2.0f, 2.0f, nan};
  const Image image = to_image(sample, 1, 2, 3);
  EXPECT_EQ(image.width, 3);
  EXPECT_EQ(image.height, 2);
  EXPECT_EQ(image.channels, 1);
  EXPECT_EQ(image.pixels, (std::vector<uint8_t>{0, 255, 128, 0, 255, 0}));
}

TEST(Sheet, EveryByteComesBack) {
  std::vector<float> sample;
  for (int i = 0; i < 256; ++i) sample.push_back(static_cast<float>(i) / 127.5f - 1.0f);
  const Image image = to_image(sample, 1, 16, 16);
  for (size_t i = 0; i < 256; ++i) EXPECT_EQ(image.pixels[i], i);
}

TEST(Sheet, PutsPlanesBetweenEachOther) {
  const std::vector<float> sample{-1, 1, 1, -1, 0, 0};
  EXPECT_EQ(to_image(sample, 3, 1, 2).pixels, (std::vector<uint8_t>{0, 255, 128, 255, 0, 128}));
}

TEST(Sheet, ShowsTheFirstChannelOfLatentsBetweenItsOwnBounds) {
  const std::vector<float> sample{-4, 6, 100, 100};
  const Image image = to_image(sample, 2, 1, 2);
  EXPECT_EQ(image.channels, 1);
  EXPECT_EQ(image.pixels, (std::vector<uint8_t>{0, 255}));
  EXPECT_EQ(to_image(std::vector<float>{5, 5, 1, 2}, 2, 1, 2).pixels, (std::vector<uint8_t>{0, 0}));
}

TEST(Sheet, RefusesAShapeThatDoesNotFit) {
  const std::vector<float> sample(5);
  EXPECT_THROW(to_image(sample, 1, 2, 3), Error);
  EXPECT_THROW(to_image({}, 0, 0, 0), Error);
}

TEST(Sheet, SetsPicturesInRowsWithAGap) {
  const std::vector<Image> images{{1, 1, 1, {10}}, {1, 1, 1, {20}}, {1, 1, 1, {30}}};
  const Image sheet = make_sheet(images, 2);
  EXPECT_EQ(sheet.width, 4);
  EXPECT_EQ(sheet.height, 4);
  const uint8_t g = 255;
  EXPECT_EQ(sheet.pixels,
            (std::vector<uint8_t>{10, g, g, 20, g, g, g, g, g, g, g, g, 30, g, g, g}));
  EXPECT_EQ(make_sheet(images, 9).width, 7);  // no wider than its pictures
}

TEST(Sheet, EnlargesWithoutSmoothing) {
  const Image sheet = make_sheet({{2, 1, 3, {1, 2, 3, 4, 5, 6}}}, 1, 2);
  EXPECT_EQ(sheet.width, 4);
  EXPECT_EQ(sheet.height, 2);
  const std::vector<uint8_t> row{1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6};
  std::vector<uint8_t> twice = row;
  twice.insert(twice.end(), row.begin(), row.end());
  EXPECT_EQ(sheet.pixels, twice);
}

TEST(Sheet, RefusesPicturesOfTwoSizesAndNone) {
  EXPECT_THROW(make_sheet({{1, 1, 1, {1}}, {2, 1, 1, {1, 2}}}, 2), Error);
  EXPECT_THROW(make_sheet({}, 2), Error);
  EXPECT_THROW(make_sheet({{1, 1, 1, {1}}}, 0), Error);
}

TEST(Sheet, ScaleBringsASideToAbout64) {
  EXPECT_EQ(sheet_scale(16), 4);
  EXPECT_EQ(sheet_scale(28), 2);
  EXPECT_EQ(sheet_scale(32), 2);
  EXPECT_EQ(sheet_scale(64), 1);
  EXPECT_EQ(sheet_scale(256), 1);
}

}  // namespace
}  // namespace gallop::data
