#pragma once

#include <cstdint>
#include <vector>

#include "gallop/data/dataset.h"

namespace gallop::data {

/// Images that lie in memory as bytes, with a label each: what small data sets are once they are
/// read.
class StoredImages : public Dataset {
 public:
  /// `pixels` are [count, height, width, channels] as `info` says, `labels` [count]; their hash
  /// becomes the content of `info`.
  StoredImages(DatasetInfo info, std::vector<uint8_t> pixels, std::vector<uint8_t> labels);
  const DatasetInfo& info() const override { return info_; }
  int64_t read(int64_t index, std::span<float> out) const override;
  int64_t label(int64_t index) const override { return labels_.at(static_cast<size_t>(index)); }

 private:
  DatasetInfo info_;
  std::vector<uint8_t> pixels_, labels_;
};

/// Makes each of the images a square of `side` pixels (formats::Crop::bicubic); 0 leaves them
/// alone.
void crop_all(DatasetInfo& info, std::vector<uint8_t>& pixels, int64_t side);

/// Interleaved bytes as planes of floats in [-1, 1].
void to_planes(std::span<const uint8_t> pixels, int64_t channels, std::span<float> out);

}  // namespace gallop::data
