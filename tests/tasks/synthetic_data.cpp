#include "tests/tasks/synthetic_data.h"

#include <algorithm>

#include "gallop/base/random.h"
#include "gallop/config/registry.h"

namespace gallop::testing {
namespace {

class Synthetic : public data::Dataset {
 public:
  Synthetic(const SyntheticSettings& settings, const Args& args)
      : info_(synthetic_info(settings)), split_(args.split) {
    require(!settings.broken, "synthetic data that cannot be opened");
    if (args.split == "test") info_.count = settings.test_count;
  }
  const data::DatasetInfo& info() const override { return info_; }
  int64_t read(int64_t index, std::span<float> out) const override {
    fill_normal(out, {.purpose = split_, .sample = static_cast<uint64_t>(index)});
    for (float& value : out) value = std::clamp(0.4F * value, -1.0F, 1.0F);
    return info_.classes > 0 ? index % info_.classes : -1;
  }

 private:
  data::DatasetInfo info_;
  std::string split_;
};

const config::Register<data::Dataset, SyntheticSettings> registered{
    "synthetic", "keyed noise for tests", "-",
    [](const SyntheticSettings& settings, const data::Dataset::Args& args) {
      return std::make_unique<Synthetic>(settings, args);
    }};

}  // namespace

void SyntheticSettings::fields(config::Visitor& v) {
  v.field("count", count, "training samples");
  v.field("test_count", test_count, "held-out samples");
  v.field("channels", channels, "channels");
  v.field("side", side, "height and width");
  v.field("classes", classes, "classes, 0: no labels");
  v.field("latent", latent, "say that these are latents");
  v.field("broken", broken, "fail when opened");
}

data::DataConfig synthetic(const SyntheticSettings& settings) {
  data::DataConfig config;
  config.source = config::Component("dataset", "synthetic");
  config.source.as<SyntheticSettings>() = settings;
  return config;
}

data::DatasetInfo synthetic_info(const SyntheticSettings& settings) {
  return {.kind = "synthetic",
          .path = "synthetic",
          .count = settings.count,
          .channels = settings.channels,
          .height = settings.side,
          .width = settings.side,
          .classes = settings.classes,
          .latent = settings.latent};
}

}  // namespace gallop::testing
