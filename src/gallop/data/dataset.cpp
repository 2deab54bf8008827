#include "gallop/data/dataset.h"

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/config/registry.h"

namespace gallop::data {

int64_t Dataset::label(int64_t index) const {
  std::vector<float> sample(static_cast<size_t>(info().channels * info().height * info().width));
  return read(index, sample);
}

void DataConfig::fields(config::Visitor& v) {
  v.component("source", source, "where samples come from");
  v.field("flip", flip,
          "mirror half of the training images, drawn anew in each epoch; not for latents");
  v.field("workers", workers, "threads that read and decode beside the training",
          config::between(1, 256));
  v.field("queue", queue, "batches that are read ahead, at least one a worker",
          config::between(1, 4096));
}

std::unique_ptr<Dataset> open_dataset(const DataConfig& config, const Dataset::Args& args) {
  require(args.split == "train" || args.split == "test", "unknown split '", args.split,
          "': train or test");
  auto dataset = config::make<Dataset>(config.source, args);
  const DatasetInfo& info = dataset->info();
  require(info.count > 0, info.path, ": the ", args.split, " split holds no samples");
  const auto fits = [](int64_t wanted, int64_t found) { return wanted == 0 || wanted == found; };
  require(fits(args.channels, info.channels) && fits(args.height, info.height) &&
              fits(args.width, info.width),
          info.path, " holds samples of ", shape_text({{info.channels, info.height, info.width}}),
          " (channels, height, width), wanted are ",
          shape_text({{args.channels, args.height, args.width}}), " (0: any)");
  require(!(config.flip && info.latent), info.path,
          " holds latents, and the mirror image of a latent is not the latent of the mirror image: "
          "set data.flip = false, and store latents of mirrored images as further samples");
  return dataset;
}

}  // namespace gallop::data
