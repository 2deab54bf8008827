#include "gallop/formats/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cctype>

#include "gallop/base/error.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/temporary_directory.h"

namespace gallop::formats {
namespace {

using testing::HasSubstr;

fs::path picture(const std::string& name) { return fs::path(GALLOP_TEST_DATA) / "images" / name; }

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string error_of(const std::string& bytes) {
  try {
    decode_image(bytes_of(bytes), "'it'");
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("'it' "));
    return error.what();
  }
  return "";
}

using Colour = std::array<int, 3>;
// The pictures of tests/data/images.
Colour colour_at(int64_t x, int64_t y) {
  return {static_cast<int>((19 * x + 3 * y) % 256), static_cast<int>((5 * x + 31 * y) % 256),
          static_cast<int>((7 * x * y + 40) % 256)};
}
Colour grey_at(int64_t x, int64_t y) { return {static_cast<int>((17 * x + 29 * y) % 256)}; }
Colour palette_at(int64_t x, int64_t y) {
  constexpr Colour palette[] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {10, 20, 30}};
  return palette[(x + 2 * y) % 4];
}
Colour check_at(int64_t x, int64_t y) { return {static_cast<int>((x + y) % 2 * 255)}; }
Colour smooth_at(int64_t x, int64_t y) {
  return {static_cast<int>(6 * x), static_cast<int>(10 * y), static_cast<int>(3 * x + 5 * y)};
}
Colour smooth_grey_at(int64_t x, int64_t y) { return {static_cast<int>(3 * x + 5 * y)}; }
// (1 - c)(1 - k) of 51, 102, 153 and 102 of 255: 122.4, 91.8, 61.2
Colour ink_at(int64_t, int64_t) { return {122, 92, 61}; }

struct Case {
  const char* file;
  int64_t width, height, channels;
  Colour (*colour)(int64_t, int64_t);
  int tolerance = 0;
};

class Pictures : public testing::TestWithParam<Case> {};

TEST_P(Pictures, AreDecoded) {
  const Case& c = GetParam();
  const Image image = read_image(picture(c.file));
  ASSERT_EQ(image.width, c.width);
  ASSERT_EQ(image.height, c.height);
  ASSERT_EQ(image.channels, c.channels);
  ASSERT_EQ(image.pixels.size(), static_cast<size_t>(c.width * c.height * c.channels));
  for (int64_t y = 0; y < c.height; ++y)
    for (int64_t x = 0; x < c.width; ++x)
      for (int64_t i = 0; i < c.channels; ++i)
        EXPECT_NEAR(image.pixels[static_cast<size_t>((y * c.width + x) * c.channels + i)],
                    c.colour(x, y)[static_cast<size_t>(i)], c.tolerance)
            << x << ", " << y << ", channel " << i;
}

INSTANTIATE_TEST_SUITE_P(
    All, Pictures,
    testing::Values(
        Case{"rgb.png", 13, 7, 3, colour_at}, Case{"interlaced.png", 13, 7, 3, colour_at},
        Case{"rgba.png", 13, 7, 3, colour_at}, Case{"grey.png", 13, 7, 1, grey_at},
        Case{"grey-alpha.png", 13, 7, 1, grey_at}, Case{"grey-16-bit.png", 13, 7, 1, grey_at},
        Case{"grey-1-bit.png", 13, 7, 1, check_at}, Case{"palette.png", 13, 7, 3, palette_at},
        Case{"rgb.jpg", 40, 24, 3, smooth_at, 4}, Case{"progressive.jpg", 40, 24, 3, smooth_at, 4},
        Case{"grey.jpg", 40, 24, 1, smooth_grey_at, 4}, Case{"cmyk.jpg", 16, 16, 3, ink_at, 2},
        Case{"rgb.webp", 40, 24, 3, smooth_at, 6}, Case{"lossless.webp", 13, 7, 3, colour_at},
        Case{"alpha.webp", 13, 7, 3, colour_at}, Case{"turned-6.jpg", 40, 24, 3, smooth_at, 5},
        Case{"turned-8.png", 13, 7, 3, colour_at}, Case{"turned-5.webp", 13, 7, 3, colour_at}),
    [](const auto& info) {
      std::string name = info.param.file;
      for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      return name;
    });

// What ends too early is an error wherever it ends.
TEST_P(Pictures, AreRefusedWhenCutShort) {
  const std::string whole = read_file(picture(GetParam().file));
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_NE(error_of(whole.substr(0, n)), "") << n;
}

// A changed byte is an Error or a picture of the size it says, never anything else.
TEST_P(Pictures, SurviveChangedBytes) {
  const std::string whole = read_file(picture(GetParam().file));
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string changed = whole;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      try {
        const Image image = decode_image(bytes_of(changed), "it");
        EXPECT_EQ(image.pixels.size(),
                  static_cast<size_t>(image.width * image.height * image.channels));
      } catch (const Error&) {
      }
    }
  }
}

TEST(Image, RefusesOtherFormatsAndDamage) {
  EXPECT_THAT(error_of(""), HasSubstr("is empty"));
  EXPECT_THAT(error_of("GIF89a, say"), HasSubstr("neither a PNG nor a JPEG nor a WebP"));
  EXPECT_THAT(error_of("RIFF"), HasSubstr("neither a PNG nor a JPEG nor a WebP"));
  EXPECT_THAT(error_of("\xff\xd8\xff, and then no JPEG"), HasSubstr("no valid JPEG"));
  EXPECT_THAT(error_of("\x89PNG\r\n\x1a\n, and then no PNG"), HasSubstr("no valid PNG"));
  std::string png = read_file(picture("rgb.png"));
  char& crc =
      png[png.size() - 13];  // IEND takes the last 12 bytes, the checksum of IDAT is before it
  crc = static_cast<char>(crc ^ 1);
  EXPECT_THAT(error_of(png), HasSubstr("CRC"));
}

TEST(Image, RefusesSizesBeyondMemoryBeforeAllocating) {
  // IHDR says 65535 x 65535; its checksum (over type and data) is made to fit.
  const auto png_of = [](const std::string& ihdr, const std::string& crc) {
    return "\x89PNG\r\n\x1a\n" + std::string("\0\0\0\x0d", 4) + "IHDR" + ihdr + crc +
           std::string("\0\0\0\0IDAT\x35\xaf\x06\x1e", 12) +
           std::string("\0\0\0\0IEND\xae\x42\x60\x82", 12);
  };
  EXPECT_THAT(error_of(png_of(std::string("\0\0\xff\xff\0\0\xff\xff\x08\x02\0\0\0", 13),
                              "\x39\x67\x4e\x07")),
              HasSubstr("65535 x 65535 pixels, more than"));
  EXPECT_THAT(
      error_of(png_of(std::string("\0\0\x40\0\0\0\x40\0\x08\x02\0\0\0", 13), "\x26\xaa\x87\xd3")),
      HasSubstr("16384 x 16384 pixels cannot be in"));
  // The size of a JPEG stands in its SOF0 segment: height, then width.
  std::string jpeg = read_file(picture("grey.jpg"));
  const size_t size = jpeg.find("\xff\xc0") + 5;
  ASSERT_EQ(jpeg.substr(size, 4), std::string("\0\x18\0\x28", 4));
  EXPECT_THAT(error_of(jpeg.replace(size, 4, "\xff\xdc\xff\xdc")), HasSubstr("65500 x 65500"));
  EXPECT_THAT(error_of(jpeg.replace(size, 4, std::string("\x40\0\x40\0", 4))),
              HasSubstr("cannot be in"));
}

TEST(Image, AMissingFileIsAnErrorWithItsName) {
  try {
    read_image("no/such.png");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("'no/such.png'"));
  }
}

TEST(Image, ChangesBetweenGreyAndColour) {
  const Image photo = read_image(picture("photo.png"));
  EXPECT_EQ(to_channels(photo, 1).pixels, read_image(picture("photo-grey.png")).pixels);
  EXPECT_EQ(to_channels(photo, 3).pixels, photo.pixels);
  EXPECT_EQ(to_channels({2, 1, 1, {7, 9}}, 3).pixels, (std::vector<uint8_t>{7, 7, 7, 9, 9, 9}));
  EXPECT_THROW(to_channels(photo, 2), Error);
}

TEST(Image, PngKeepsEveryPixel) {
  for (const int64_t channels : {1, 3}) {
    Image image{31, 17, channels, {}};
    for (int64_t i = 0; i < 31 * 17 * channels; ++i)
      image.pixels.push_back(static_cast<uint8_t>(i * i * 7 + i));
    const test::TemporaryDirectory folder;
    write_png(folder / "a.png", image);
    const Image read = read_image(folder / "a.png");
    EXPECT_EQ(read.width, 31);
    EXPECT_EQ(read.height, 17);
    EXPECT_EQ(read.channels, channels);
    EXPECT_EQ(read.pixels, image.pixels);
    EXPECT_EQ(encode_png(image), encode_png(read));
  }
}

TEST(Image, RefusesToEncodeWhatIsNoPicture) {
  EXPECT_THROW(encode_png({2, 2, 1, {1, 2, 3}}), Error);
  EXPECT_THROW(encode_png({2, 2, 2, std::vector<uint8_t>(8)}), Error);
  EXPECT_THROW(encode_png({0, 0, 1, {}}), Error);
  EXPECT_THROW(encode_png({-1, -1, 1, {1}}), Error);
}

TEST(Image, AFailedWriteKeepsTheOldFile) {
  const test::TemporaryDirectory folder;
  write_png(folder / "a.png", {1, 1, 1, {7}});
  test::FailingFileSystem files(test::FailingFileSystem::Fault::stay_full, 1);
  {
    const auto guard = replace_file_system(files);
    EXPECT_THROW(write_png(folder / "a.png", {1, 1, 1, {8}}), Error);
  }
  EXPECT_EQ(read_image(folder / "a.png").pixels, std::vector<uint8_t>{7});
}

}  // namespace
}  // namespace gallop::formats
