#include "tests/data/counting_dataset.h"

#include <memory>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"

namespace gallop::test {

void CountingSettings::fields(config::Visitor& v) {
  v.field("count", count, "samples of a split");
  v.field("broken", broken, "reading this one throws");
  v.field("labels", labels, "samples have labels");
  v.field("latent", latent, "samples are latents");
}

namespace {

class CountingDataset : public data::Dataset {
 public:
  CountingDataset(const CountingSettings& settings, const Args& args)
      : settings_(settings),
        info_{.kind = "test-counting",
              .path = args.split,
              .count = settings.count,
              .channels = 1,
              .height = 2,
              .width = 3,
              .classes = settings.labels ? settings.count : 0,
              .latent = settings.latent} {}

  const data::DatasetInfo& info() const override { return info_; }
  int64_t read(int64_t index, std::span<float> out) const override {
    require(index != settings_.broken, "sample ", index, " is broken");
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<float>(index) + static_cast<float>(i) / 10.0f;
    return settings_.labels ? index : -1;
  }

 private:
  CountingSettings settings_;
  data::DatasetInfo info_;
};

const config::Register<data::Dataset, CountingSettings> registered{
    "test-counting", "numbers, for tests", "", [](const auto& settings, const auto& args) {
      return std::make_unique<CountingDataset>(settings, args);
    }};

}  // namespace
}  // namespace gallop::test
