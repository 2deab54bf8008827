#include "gallop/data/stored_images.h"

#include <array>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/hash.h"
#include "gallop/formats/resize.h"

namespace gallop::data {

void to_planes(std::span<const uint8_t> pixels, int64_t channels, std::span<float> out) {
  static constexpr auto values = [] {
    std::array<float, 256> table{};
    for (size_t i = 0; i < table.size(); ++i) table[i] = to_unit(static_cast<uint8_t>(i));
    return table;
  }();
  require(out.size() == pixels.size(), "a sample of ", pixels.size(), " values does not fit into ",
          out.size());
  const auto step = static_cast<size_t>(channels);
  size_t i = 0;
  for (size_t c = 0; c < step; ++c)
    for (size_t p = c; p < pixels.size(); p += step) out[i++] = values[pixels[p]];
}

void crop_all(DatasetInfo& info, std::vector<uint8_t>& pixels, int64_t side) {
  if (side == 0 || (side == info.height && side == info.width)) return;
  const auto size = static_cast<size_t>(info.height * info.width * info.channels);
  std::vector<uint8_t> cropped;
  cropped.reserve(pixels.size() / size * static_cast<size_t>(side * side * info.channels));
  formats::Image image{info.width, info.height, info.channels, {}};
  for (auto p = pixels.begin(); p != pixels.end(); p += static_cast<std::ptrdiff_t>(size)) {
    image.pixels.assign(p, p + static_cast<std::ptrdiff_t>(size));
    const formats::Image square = crop_square(image, side, formats::Crop::bicubic);
    cropped.insert(cropped.end(), square.pixels.begin(), square.pixels.end());
  }
  info.height = info.width = side;
  info.detail += (info.detail.empty() ? "" : ", ") + std::string("resized to ") +
                 std::to_string(side) + " pixels";
  pixels = std::move(cropped);
}

StoredImages::StoredImages(DatasetInfo info, std::vector<uint8_t> pixels,
                           std::vector<uint8_t> labels)
    : info_(std::move(info)), pixels_(std::move(pixels)), labels_(std::move(labels)) {
  info_.resident_bytes = static_cast<int64_t>(pixels_.size() + labels_.size());
  const auto count = static_cast<size_t>(info_.count);
  const auto size = static_cast<size_t>(info_.channels * info_.height * info_.width);
  require(pixels_.size() == count * size && labels_.size() == count, info_.path, ": ", count,
          " images of ", size, " values do not fit ", pixels_.size(), " bytes and ", labels_.size(),
          " labels");
  Hasher content;
  content.add(std::as_bytes(std::span(pixels_)));
  content.add(std::as_bytes(std::span(labels_)));
  info_.content = content.hex();
}

int64_t StoredImages::read(int64_t index, std::span<float> out) const {
  const int64_t found = label(index);  // checks the index
  const size_t size = pixels_.size() / labels_.size();
  to_planes(std::span(pixels_).subspan(static_cast<size_t>(index) * size, size), info_.channels,
            out);
  return found;
}

}  // namespace gallop::data
