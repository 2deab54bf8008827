// gallop calibrate: sets the inference thresholds of weights exactly.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/progress.h"
#include "gallop/command.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/options.h"
#include "gallop/training/calibrate.h"
#include "gallop/training/device.h"
#include "gallop/training/restore.h"

namespace gallop {
namespace {

struct CalibrateArguments {
  std::string weights, out;
  int64_t batches = training::calibration_batches;
  bool raw = false;
  std::vector<std::string> set;
};

std::string number_range(const at::Tensor& threshold) {
  char text[64];
  const double low = threshold.min().item<double>(), high = threshold.max().item<double>();
  if (threshold.numel() == 1) {
    std::snprintf(text, sizeof text, "%.4f", low);
  } else {
    std::snprintf(text, sizeof text, "%.4f to %.4f", low, high);
  }
  return text;
}

void calibrate(const CalibrateArguments& arguments) {
  training::Restored restored = training::restore(arguments.weights, !arguments.raw, arguments.set);
  training::use_threads(restored.recipe);
  Progress progress({.label = "calibrate", .unit = "batch", .total = arguments.batches});
  const auto layers = training::calibrate(*restored.task, *restored.model, arguments.batches,
                                          [&progress](int64_t batch) { progress.update(batch); });
  progress.finish();
  require(
      !layers.empty(), arguments.weights,
      ": this model has no thresholds to calibrate (its layers are dense, or its selection keeps "
      "a top-K that depends on no other sample)");
  for (const auto& layer : layers) {
    std::printf("%s.router.threshold: %s -> %s\n", layer.layer.c_str(),
                number_range(layer.before).c_str(), number_range(layer.after).c_str());
  }

  namespace fs = std::filesystem;
  fs::path out = arguments.out;
  if (out.empty()) {
    const fs::path given = arguments.weights;
    const std::string name =
        (arguments.raw ? "model" : "ema") + std::string("-calibrated.safetensors");
    out = (fs::is_directory(given) ? given : given.parent_path()) / name;
  }
  formats::Metadata metadata = restored.metadata;
  metadata["threshold"] = "exact";
  nn::save_tensors(out, models::named_tensors(*restored.model), metadata);
  std::printf("wrote %s (thresholds exact on %lld batches)\n", out.c_str(),
              static_cast<long long>(arguments.batches));
}

const Command registered{[](CLI::App& app) {
  auto arguments = std::make_shared<CalibrateArguments>();
  CLI::App* command = app.add_subcommand(
      "calibrate",
      "set the inference thresholds exactly: the (1 - k/E) quantile of the model's own scores on a "
      "fixed sample of training data");
  command->add_option("run_or_weights", arguments->weights, "run, checkpoint or weights file")
      ->required();
  command->add_option("--out", arguments->out,
                      "weights file to write (default: ema-calibrated.safetensors in the run)");
  command->add_option("--batches", arguments->batches, "batches of training data")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  command->add_flag("--raw", arguments->raw, "the raw weights instead of the EMA weights");
  add_overrides(*command, arguments->set);
  command->callback([arguments] { calibrate(*arguments); });
}};

}  // namespace
}  // namespace gallop
