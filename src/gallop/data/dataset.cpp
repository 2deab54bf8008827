#include "gallop/data/dataset.h"

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/human.h"
#include "gallop/config/describe.h"
#include "gallop/config/registry.h"

namespace gallop::data {
namespace {

// A recipe that was moved, or is run from another folder, no longer finds what it names by a
// relative path.
std::string where_paths_begin(const DataConfig& config) {
  const std::unique_ptr<config::Struct> settings = config.source.settings().clone();
  for (const config::FieldInfo& field : config::describe(*settings)) {
    if (field.key != "path" || field.value.size() <= 2) continue;
    const fs::path path = field.value.substr(1, field.value.size() - 2);  // without quotes
    if (path.is_absolute() || is_there(path)) return {};
    std::error_code error;
    return " (task.data.source.path = " + field.value + " is looked for from '" +
           fs::current_path(error).string() +
           "': start in the folder it was meant from, or give it with --set "
           "task.data.source.path=...)";
  }
  return {};
}

std::unique_ptr<Dataset> make_dataset(const DataConfig& config, Dataset::Args args) {
  args.skip_unreadable = config.skips_unreadable();
  try {
    return config::make<Dataset>(config.source, args);
  } catch (const Error& error) {
    fail(error.what(), where_paths_begin(config));
  }
}

}  // namespace

int64_t Dataset::label(int64_t index) const {
  std::vector<float> sample(static_cast<size_t>(info().channels * info().height * info().width));
  return read(index, sample);
}

void DataConfig::fields(config::Visitor& v) {
  v.component("source", source, "where samples come from");
  v.field("flip", flip,
          "mirror half of the training images, drawn anew in each epoch; not for latents");
  // How samples are read changes none of them. What is done about one that cannot be read must be
  // free to change where it ended the run.
  v.effect(config::Effect::free);
  v.field("workers", workers, "threads that read and decode beside the training",
          config::between(1, 256));
  v.field("queue", queue, "batches that are read ahead, at least one a worker",
          config::between(1, 4096));
  v.field(
      "on_error", on_error,
      "a sample that cannot be read ends the run, which is saved first, or is named and counted "
      "while another one, the same in every session, takes its place",
      {"stop", "skip"});
}

std::unique_ptr<Dataset> open_dataset(const DataConfig& config, const Dataset::Args& args) {
  require(args.split == "train" || args.split == "test", "unknown split '", args.split,
          "': train or test");
  auto dataset = make_dataset(config, args);
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
