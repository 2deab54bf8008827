#include "gallop/formats/resize.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gallop/base/error.h"

namespace gallop::formats {
namespace {

/// Weights are fixed-point numbers of so many bits: a byte times a weight, summed, fits 32 bits.
constexpr int weight_bits = 22;

struct Kernel {
  double support;
  double (*at)(double x);
};

Kernel kernel_of(Filter filter) {
  if (filter == Filter::box)
    return {0.5, [](double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }};
  return {2.0, [](double x) {
            constexpr double a = -0.5;
            x = std::abs(x);
            if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
            if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
            return 0.0;
          }};
}

/// Of which pixels of a line, and with what weights, one pixel of the new line is made.
struct Taps {
  int64_t first;
  std::vector<int32_t> weights;
};

std::vector<Taps> taps_of(int64_t from, int64_t to, const Kernel& kernel) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double widening = std::max(scale, 1.0);
  const double support = kernel.support * widening;
  std::vector<Taps> taps;
  taps.reserve(static_cast<size_t>(to));
  for (int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, std::lround(centre - support));
    const auto last = std::min<int64_t>(from, std::lround(centre + support));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t x = first; x < last; ++x) {
      weights.push_back(kernel.at((static_cast<double>(x) - centre + 0.5) * (1.0 / widening)));
      sum += weights.back();
    }
    Taps& t = taps.emplace_back(Taps{first, {}});
    for (const double w : weights)
      t.weights.push_back(
          static_cast<int32_t>(std::lround((sum != 0 ? w / sum : w) * (1 << weight_bits))));
  }
  return taps;
}

uint8_t to_byte(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> weight_bits, 0, 255));
}

/// Applies the taps along lines whose neighbouring elements are `stride` bytes apart.
void filter_line(const uint8_t* in, uint8_t* out, const std::vector<Taps>& taps, int64_t stride) {
  for (const Taps& t : taps) {
    int32_t sum = 1 << (weight_bits - 1);
    const uint8_t* p = in + t.first * stride;
    for (const int32_t w : t.weights) {
      sum += *p * w;
      p += stride;
    }
    *out = to_byte(sum);
    out += stride;
  }
}

Image resize_rows(const Image& image, int64_t width, const Kernel& kernel) {
  const auto taps = taps_of(image.width, width, kernel);
  Image out{width, image.height, image.channels, {}};
  out.pixels.resize(static_cast<size_t>(width * image.height * image.channels));
  for (int64_t y = 0; y < image.height; ++y)
    for (int64_t c = 0; c < image.channels; ++c)
      filter_line(image.pixels.data() + y * image.width * image.channels + c,
                  out.pixels.data() + y * width * image.channels + c, taps, image.channels);
  return out;
}

Image resize_columns(const Image& image, int64_t height, const Kernel& kernel) {
  const auto taps = taps_of(image.height, height, kernel);
  const auto row = static_cast<size_t>(image.width * image.channels);
  Image out{image.width, height, image.channels, {}};
  out.pixels.resize(row * static_cast<size_t>(height));
  std::vector<int32_t> sums(row);
  uint8_t* to = out.pixels.data();
  // Row by row and not column by column: memory is read in the order in which it lies.
  for (const Taps& t : taps) {
    std::fill(sums.begin(), sums.end(), 1 << (weight_bits - 1));
    const uint8_t* from = image.pixels.data() + static_cast<size_t>(t.first) * row;
    for (const int32_t w : t.weights)
      for (size_t x = 0; x < row; ++x) sums[x] += *from++ * w;
    to = std::transform(sums.begin(), sums.end(), to, to_byte);
  }
  return out;
}

Image cut_centre(const Image& image, int64_t side) {
  const int64_t left = (image.width - side) / 2, top = (image.height - side) / 2;
  Image out{side, side, image.channels, {}};
  out.pixels.resize(static_cast<size_t>(side * side * image.channels));
  for (int64_t y = 0; y < side; ++y)
    std::copy_n(image.pixels.data() + ((top + y) * image.width + left) * image.channels,
                side * image.channels, out.pixels.data() + y * side * image.channels);
  return out;
}

}  // namespace

Image resize(const Image& image, int64_t width, int64_t height, Filter filter) {
  require(image.width > 0 && image.height > 0 && width > 0 && height > 0,
          "cannot resize a picture of ", image.width, " x ", image.height, " pixels to ", width,
          " x ", height);
  require(width <= most_pixels / std::max(height, image.height), "resizing a picture of ",
          image.width, " x ", image.height, " pixels to ", width, " x ", height,
          " takes more than the ", most_pixels, " pixels allowed");
  const Kernel kernel = kernel_of(filter);
  Image out = width == image.width ? image : resize_rows(image, width, kernel);
  return height == out.height ? out : resize_columns(out, height, kernel);
}

Image crop_square(Image image, int64_t side, Crop crop) {
  require(side > 0, "a picture cannot be cropped to ", side, " pixels");
  if (crop == Crop::adm)
    while (std::min(image.width, image.height) >= 2 * side)
      image = resize(image, image.width / 2, image.height / 2, Filter::box);
  const double scale =
      static_cast<double>(side) / static_cast<double>(std::min(image.width, image.height));
  // nearbyint rounds halves to even, as Python does.
  const auto scaled = [&](int64_t n) {
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(n) * scale));
  };
  return cut_centre(resize(image, scaled(image.width), scaled(image.height), Filter::bicubic),
                    side);
}

}  // namespace gallop::formats
