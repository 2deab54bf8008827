// gallop calibrate: sets the inference thresholds of weights exactly.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/format.h"
#include "gallop/base/log.h"
#include "gallop/base/progress.h"
#include "gallop/command.h"
#include "gallop/compute/calibrate.h"
#include "gallop/compute/dial_report.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/number_options.h"
#include "gallop/options.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/device.h"
#include "gallop/runs/restore.h"
#include "gallop/sparse/choice/mixing.h"

namespace gallop {
namespace {

namespace fs = std::filesystem;

constexpr const char* no_thresholds =
    ": this model has no thresholds to calibrate (its layers are dense, or its selection keeps a "
    "top-K that depends on no other sample)";

struct CalibrateArguments {
  std::string weights, out;
  std::vector<double> active;
  int64_t batches = compute::calibration_batches, noise_ranges = 1;
  bool raw = false;
  std::vector<std::string> set;
};

std::string number_range(const at::Tensor& threshold) {
  const double low = threshold.min().item<double>(), high = threshold.max().item<double>();
  return threshold.numel() == 1 ? format("%.4f", low) : format("%.4f to %.4f", low, high);
}

void require_finite(const at::Tensor& threshold, const std::string& name,
                    const std::string& weights) {
  require(threshold.isfinite().all().item<bool>(), name,
          " is not finite, and so are the scores it was made of; nothing was written. Look at the "
          "weights with `gallop inspect ",
          weights, "`");
}

/// Thresholds for other numbers of experts a token, and what each costs and gives.
void measure(const CalibrateArguments& arguments, runs::Restored& restored) {
  std::optional<Progress> bar;
  const auto show = [&bar](const char* label, const char* unit) {
    bar.reset();
    return [&bar, label, unit](int64_t done, int64_t total) {
      if (!bar) bar.emplace(ProgressOptions{.label = label, .unit = unit, .total = total});
      bar->update(done);
    };
  };
  const auto settings = compute::measure_dial(*restored.task, *restored.model,
                                              {.actives = arguments.active,
                                               .batches = arguments.batches,
                                               .ranges = arguments.noise_ranges,
                                               .progress = show("calibrate", "batch")});
  require(!settings.empty(), arguments.weights, no_thresholds);
  for (const compute::DialSetting& setting : settings) {
    for (const auto& [name, levels] : setting.thresholds) {
      require_finite(levels.values, name, arguments.weights);
    }
  }
  const fs::path out = arguments.out.empty()
                           ? runs::folder_of(arguments.weights) / compute::dial_file
                           : fs::path(arguments.out);
  compute::save_dial(out, settings, restored.metadata);

  if (!sparse::selections_that_mix_samples(*restored.model).empty()) {
    log_warning(
        "the samples of a batch compete for experts outside training: losses are those of "
        "task.eval.batch = ",
        restored.task->evaluation_batch(), ", samples depend on those drawn beside them");
  }
  const auto rows =
      compute::try_dial(*restored.task, *restored.model, settings, show("evaluate", "sample"));
  bar.reset();
  std::printf("%s", compute::to_markdown(rows).c_str());
  const auto beside = [&](const char* ending) { return fs::path(out).replace_extension(ending); };
  write_file_atomically(beside(".md"), compute::to_markdown(rows));
  write_file_atomically(beside(".svg"), compute::to_svg(rows));
  std::string sheet;
  if (const tasks::Generator* generator = restored.task->generator();
      generator != nullptr && generator->not_shown().empty()) {
    const formats::Artifact drawn =
        compute::draw_dial_sheet(*generator, *restored.model, settings, 2);
    if (const auto* image = std::get_if<formats::Image>(&drawn.content)) {
      formats::write_png(beside(".png"), *image);
      sheet = " and samples side by side (.png)";
    }
  }
  std::printf("wrote %s, and beside it the table (.md), its plot (.svg)%s", out.c_str(),
              sheet.c_str());
  if (restored.task->generator() != nullptr) {
    std::printf("; gallop sample %s --active %g uses a setting", arguments.weights.c_str(),
                arguments.active.front());
  }
  std::printf("\n");
}

void calibrate(const CalibrateArguments& arguments) {
  runs::Restored restored = runs::restore(arguments.weights, !arguments.raw, arguments.set);
  runs::use_threads(restored.recipe);
  require(arguments.noise_ranges == 1 || !arguments.active.empty(),
          "--noise-ranges belongs to the compute dial: say --active K,... as well");
  if (!arguments.active.empty()) return measure(arguments, restored);
  Progress progress({.label = "calibrate", .unit = "batch", .total = arguments.batches});
  const auto layers = compute::calibrate(*restored.task, *restored.model, arguments.batches,
                                         [&progress](int64_t batch) { progress.update(batch); });
  progress.finish();
  require(!layers.empty(), arguments.weights, no_thresholds);
  for (const auto& layer : layers) {
    require_finite(layer.after, layer.layer + ".router.threshold", arguments.weights);
    std::printf("%s.router.threshold: %s -> %s\n", layer.layer.c_str(),
                number_range(layer.before).c_str(), number_range(layer.after).c_str());
  }

  fs::path out = arguments.out;
  if (out.empty()) {
    out = runs::folder_of(arguments.weights) /
          ((arguments.raw ? "model" : "ema") + std::string("-calibrated.safetensors"));
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
  add_whole_number(*command, "--batches", arguments->batches, "batches of training data",
                   {.min = 1, .max = int64_t{1} << 20});
  add_numbers(*command, "--active", arguments->active,
              "the compute dial: thresholds for each of these numbers of experts a token "
              "(0.5,1,2), what each costs and gives on the held-out set, and samples side by "
              "side; written to dial.safetensors (.md, .svg, .png) in the run",
              config::positive())
      ->type_name("K,...");
  add_whole_number(*command, "--noise-ranges", arguments->noise_ranges,
                   "with --active: that many ranges of noise levels, each with thresholds of its "
                   "own; experts go to the ranges whose loss falls most for them, K on average",
                   {.min = 1, .max = 64});
  command->add_flag("--raw", arguments->raw, "the raw weights instead of the EMA weights");
  add_overrides(*command, arguments->set);
  command->callback([arguments] { calibrate(*arguments); });
}};

}  // namespace
}  // namespace gallop
