#include "gallop/data/sheet.h"

#include <algorithm>
#include <cmath>

#include "gallop/base/error.h"

namespace gallop::data {
namespace {

constexpr int64_t gap = 2;
constexpr uint8_t gap_colour = 255;

/// From `low`..`high` to 0..255, rounded; what is not a number is black.
uint8_t to_byte(float value, float low, float high) {
  const float scaled = (value - low) / (high - low) * 255.0f;
  return scaled > 0.0f ? static_cast<uint8_t>(std::lround(std::min(scaled, 255.0f))) : 0;
}

}  // namespace

formats::Image to_image(std::span<const float> sample, int64_t channels, int64_t height,
                        int64_t width) {
  require(channels > 0 && height > 0 && width > 0 &&
              sample.size() == static_cast<size_t>(channels * height * width),
          "a picture of ", channels, " x ", height, " x ", width, " cannot be made of ",
          sample.size(), " values");
  const bool as_it_is = channels == 1 || channels == 3;
  const auto plane = static_cast<size_t>(height * width);
  float low = -1.0f, high = 1.0f;
  if (!as_it_is) {
    const auto [least, greatest] =
        std::minmax_element(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(plane));
    low = *least;
    high = *greatest > low ? *greatest : low + 1.0f;
  }
  formats::Image image{width, height, as_it_is ? channels : 1, {}};
  const auto shown = static_cast<size_t>(image.channels);
  image.pixels.resize(plane * shown);
  for (size_t c = 0; c < shown; ++c)
    for (size_t i = 0; i < plane; ++i)
      image.pixels[i * shown + c] = to_byte(sample[c * plane + i], low, high);
  return image;
}

formats::Image make_sheet(const std::vector<formats::Image>& images, int64_t columns,
                          int64_t scale) {
  require(!images.empty(), "a sheet needs at least one picture");
  require(columns > 0 && scale > 0, "a sheet of ", columns, " columns at scale ", scale,
          ": both must be at least 1");
  const auto count = static_cast<int64_t>(images.size());
  columns = std::min(columns, count);
  const int64_t rows = (count + columns - 1) / columns;
  const int64_t width = images[0].width, height = images[0].height, channels = images[0].channels;
  const int64_t column_step = width * scale + gap, row_step = height * scale + gap;

  formats::Image sheet{columns * column_step - gap, rows * row_step - gap, channels, {}};
  sheet.pixels.assign(static_cast<size_t>(sheet.width * sheet.height * channels), gap_colour);
  for (int64_t n = 0; n < count; ++n) {
    const formats::Image& image = images[static_cast<size_t>(n)];
    require(image.width == width && image.height == height && image.channels == channels,
            "picture ", n, " of a sheet is ", image.channels, " x ", image.height, " x ",
            image.width, ", the first one is ", channels, " x ", height, " x ", width);
    for (int64_t y = 0; y < height * scale; ++y) {
      const uint8_t* from = image.pixels.data() + y / scale * width * channels;
      uint8_t* to =
          sheet.pixels.data() +
          ((n / columns * row_step + y) * sheet.width + n % columns * column_step) * channels;
      for (int64_t x = 0; x < width * scale; ++x, to += channels)
        std::copy_n(from + x / scale * channels, channels, to);
    }
  }
  return sheet;
}

int64_t sheet_scale(int64_t side) {
  require(side > 0, "a picture of ", side, " pixels has no scale");
  return std::max<int64_t>(1, std::lround(64.0 / static_cast<double>(side)));
}

}  // namespace gallop::data
