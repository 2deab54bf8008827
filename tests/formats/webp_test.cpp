#include "gallop/formats/webp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "gallop/base/file.h"

namespace gallop::formats {
namespace {

using testing::HasSubstr;

std::string picture(const std::string& name) {
  return read_file(fs::path(GALLOP_TEST_DATA) / "images" / name);
}

std::string error_of(const std::string& bytes) {
  try {
    decode_webp(std::as_bytes(std::span(bytes)), "'it'");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// The size in the header of the only chunk of a lossless WebP: 14 bits each, less one.
std::string with_size(std::string bytes, uint32_t width, uint32_t height) {
  const uint32_t word = (width - 1) | (height - 1) << 14;
  for (size_t i = 0; i < 4; ++i) bytes[21 + i] = static_cast<char>(word >> (8 * i));
  return bytes;
}

// What a picture becomes is tested with those of the other formats (image_test.cpp).
TEST(Webp, SaysHowItIsTurned) {
  const auto orientation = [](const std::string& name) {
    const std::string bytes = picture(name);
    return decode_webp(std::as_bytes(std::span(bytes)), name).orientation;
  };
  EXPECT_EQ(orientation("turned-5.webp"), 5);
  EXPECT_EQ(orientation("rgb.webp"), 1);
}

TEST(Webp, RefusesAnimations) {
  EXPECT_THAT(error_of(picture("animated.webp")), HasSubstr("is an animated WebP"));
}

TEST(Webp, RefusesDamage) {
  std::string bytes = picture("lossless.webp");
  EXPECT_THAT(error_of(bytes + "trailing bytes are harmless"), "");
  EXPECT_THAT(error_of(bytes.substr(0, bytes.size() - 1)), HasSubstr("cut short"));
  EXPECT_THAT(error_of(bytes.substr(0, 7)), HasSubstr("cut short"));
  bytes[4] = static_cast<char>(bytes[4] + 2);  // the container says two bytes more
  EXPECT_THAT(error_of(bytes), HasSubstr("cut short"));
  bytes[4] = static_cast<char>(bytes[4] - 2);
  bytes[20] = 0;  // the mark of lossless data
  EXPECT_THAT(error_of(bytes), HasSubstr("no valid WebP"));
  EXPECT_THAT(error_of(std::string("RIFF\x04\0\0\0WEBP", 12)), HasSubstr("no valid WebP"));
}

// Lossless data of a few bytes can stand for the largest picture.
TEST(Webp, RefusesABombBeforeAllocating) {
  const std::string bytes = picture("lossless.webp");
  EXPECT_EQ(with_size(bytes, 13, 7), bytes);
  EXPECT_THAT(error_of(with_size(bytes, 16384, 16384)),
              HasSubstr("holds 16384 x 16384 pixels in 92 bytes"));
  EXPECT_THAT(error_of(with_size(bytes, 4097, 4096)), HasSubstr("which is no photograph"));
}

}  // namespace
}  // namespace gallop::formats
