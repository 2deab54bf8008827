#include "gallop/formats/exif.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "gallop/base/error.h"
#include "gallop/formats/image.h"

namespace gallop::formats {
namespace {

using testing::ElementsAreArray;

int orientation(const std::string& bytes) {
  return exif_orientation(std::as_bytes(std::span(bytes)));
}

std::string number(uint32_t value, size_t bytes, bool big) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i)
    text[big ? bytes - 1 - i : i] = static_cast<char>(value >> (8 * i));
  return text;
}

struct Tag {
  uint32_t tag = 0x0112, type = 3, count = 1, value = 6;
};

/// A TIFF header and a directory of two entries: a width, and this one.
std::string exif(bool big, const Tag& t, uint32_t directory = 8, uint32_t entries = 2) {
  const auto entry = [&](const Tag& e) {
    return number(e.tag, 2, big) + number(e.type, 2, big) + number(e.count, 4, big) +
           number(e.value, 2, big) + std::string(2, '\0');
  };
  return std::string(big ? "MM" : "II") + number(42, 2, big) + number(directory, 4, big) +
         number(entries, 2, big) + entry({.tag = 0x0100, .value = 3}) + entry(t) +
         std::string(4, '\0');
}

TEST(Exif, TellsHowTheCameraWasHeld) {
  for (const bool big : {false, true}) {
    for (uint32_t value = 1; value <= 8; ++value) {
      EXPECT_EQ(orientation(exif(big, {.value = value})), static_cast<int>(value));
      EXPECT_EQ(orientation(std::string("Exif\0\0", 6) + exif(big, {.value = value})),
                static_cast<int>(value));
    }
  }
}

TEST(Exif, IsUprightWhereItSaysNothingThatIsUnderstood) {
  for (const uint32_t value : {0u, 9u, 65535u})
    EXPECT_EQ(orientation(exif(true, {.value = value})), 1) << value;
  EXPECT_EQ(orientation(exif(true, {.tag = 0x0113})), 1);
  EXPECT_EQ(orientation(exif(true, {.type = 4})), 1);
  EXPECT_EQ(orientation(exif(true, {.count = 2})), 1);
  EXPECT_EQ(orientation(""), 1);
  EXPECT_EQ(orientation("http://ns.adobe.com/xap/1.0/"), 1);
  EXPECT_EQ(orientation("IM" + exif(false, {}).substr(2)), 1);
  EXPECT_EQ(orientation("II\x2b" + exif(false, {}).substr(3)), 1);  // BigTIFF
}

TEST(Exif, SurvivesDamage) {
  const std::string whole = exif(true, {});
  ASSERT_EQ(orientation(whole), 6);
  for (size_t n = 0; n + 4 < whole.size(); ++n) EXPECT_EQ(orientation(whole.substr(0, n)), 1) << n;
  for (const uint32_t directory : {9u, 1000u, 0x7fffffffu, 0xffffffffu})
    EXPECT_EQ(orientation(exif(true, {}, directory)), 1) << directory;
  EXPECT_EQ(orientation(exif(true, {}, 8, 65535)), 6);  // found before the end
  EXPECT_EQ(orientation(exif(true, {.tag = 1}, 8, 65535)), 1);
  EXPECT_EQ(orientation(exif(true, {}, 8, 1)), 1);
}

// What ImageOps.exif_transpose of Pillow 13 makes of a PNG of 3 x 2 grey values 1 to 6 with each
// orientation.
TEST(Turned, IsWhatPillowMakesOfIt) {
  const std::vector<std::vector<uint8_t>> want{
      {1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1}, {4, 5, 6, 1, 2, 3},
      {1, 4, 2, 5, 3, 6}, {4, 1, 5, 2, 6, 3}, {6, 3, 5, 2, 4, 1}, {3, 6, 2, 5, 1, 4}};
  for (int o = 1; o <= 8; ++o) {
    const Image image = turned({3, 2, 1, {1, 2, 3, 4, 5, 6}}, o);
    EXPECT_EQ(image.width, o < 5 ? 3 : 2) << o;
    EXPECT_EQ(image.height, o < 5 ? 2 : 3) << o;
    EXPECT_THAT(image.pixels, ElementsAreArray(want[static_cast<size_t>(o - 1)])) << o;
  }
}

TEST(Turned, KeepsTheChannelsOfAPixelTogether) {
  const Image image = turned({2, 1, 3, {1, 2, 3, 4, 5, 6}}, 8);
  EXPECT_EQ(image.width, 1);
  EXPECT_THAT(image.pixels, ElementsAreArray({4, 5, 6, 1, 2, 3}));
  EXPECT_THROW(turned(image, 0), Error);
  EXPECT_THROW(turned(image, 9), Error);
}

TEST(Turned, CanBeLeftUndone) {
  const fs::path images = fs::path(GALLOP_TEST_DATA) / "images";
  for (const char* name : {"turned-8.png", "turned-5.webp"}) {
    const Image stored = read_image(images / name, Turn::never), image = read_image(images / name);
    EXPECT_EQ(stored.width, 7) << name;
    EXPECT_EQ(image.width, 13) << name;
    EXPECT_EQ(turned(stored, name[7] - '0').pixels, image.pixels) << name;
  }
  EXPECT_EQ(read_image(images / "turned-6.jpg", Turn::never).width, 24);
}

}  // namespace
}  // namespace gallop::formats
