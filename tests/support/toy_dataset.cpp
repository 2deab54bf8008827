#include "tests/support/toy_dataset.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>

#include "gallop/base/random.h"
#include "gallop/config/registry.h"
#include "gallop/data/dataset.h"

namespace gallop::test {

void ToyDatasetSettings::fields(config::Visitor& v) {
  v.field("count", count, "number of samples of a split", config::at_least(1));
  v.field("side", side, "width and height", config::at_least(2));
  v.field("classes", classes, "classes; 0: no labels", config::at_least(0));
  v.field("poisoned", poisoned, "samples that hold a NaN");
  v.field("loudness", loudness, "factor of all samples");
}

namespace {

class ToyDataset : public data::Dataset {
 public:
  ToyDataset(const ToyDatasetSettings& settings, const Args& args)
      : settings_(settings), seed_(args.split == "train" ? 1 : 2) {
    info_ = {.kind = "toy",
             .path = "toy",
             .count = settings.count,
             .channels = 1,
             .height = settings.side,
             .width = settings.side,
             .classes = settings.classes};
  }

  const data::DatasetInfo& info() const override { return info_; }

  int64_t read(int64_t index, std::span<float> out) const override {
    fill_normal(out, {seed_, "toy", static_cast<uint64_t>(index), 0});
    const int64_t kinds = std::max<int64_t>(settings_.classes, 1);
    const int64_t row = index % kinds * settings_.side / kinds;
    for (size_t i = 0; i < out.size(); ++i) {
      const bool bar = static_cast<int64_t>(i) / settings_.side == row;
      out[i] = std::clamp(0.1F * out[i] + (bar ? 0.8F : -0.8F), -1.0F, 1.0F) *
               static_cast<float>(settings_.loudness);
    }
    const auto& bad = settings_.poisoned;
    if (std::find(bad.begin(), bad.end(), index) != bad.end()) {
      out[0] = std::numeric_limits<float>::quiet_NaN();
    }
    return label(index);
  }

  int64_t label(int64_t index) const override {
    return settings_.classes > 0 ? index % settings_.classes : -1;
  }

 private:
  ToyDatasetSettings settings_;
  uint64_t seed_;
  data::DatasetInfo info_;
};

const config::Register<data::Dataset, ToyDatasetSettings> registered{
    "toy", "bars with noise, for tests", "none",
    [](const ToyDatasetSettings& settings, const data::Dataset::Args& args) {
      return std::make_unique<ToyDataset>(settings, args);
    }};

}  // namespace
}  // namespace gallop::test
