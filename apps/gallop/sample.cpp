// gallop sample: draws images with trained weights.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/human.h"
#include "gallop/base/progress.h"
#include "gallop/base/text.h"
#include "gallop/command.h"
#include "gallop/data/sheet.h"
#include "gallop/formats/npz.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/ops/int8.h"
#include "gallop/training/checkpoint.h"
#include "gallop/training/dial.h"
#include "gallop/training/int8_check.h"
#include "gallop/training/restore.h"
#include "gallop/training/sample_sheet.h"

namespace gallop {
namespace {

struct SampleArguments {
  std::string weights, sampler, channels, each;
  std::vector<std::string> labels, out, set;
  std::vector<double> interval;
  std::optional<int64_t> count, steps, seed;
  std::optional<double> guidance, active;
  int64_t first = 0, batch = 64, int8_check = 256;
  bool raw = false, int8 = false;
};

enum class Format { png, safetensors, npz };

Format format_of(const fs::path& file) {
  const std::string extension = file.extension().string();
  if (extension == ".png") return Format::png;
  if (extension == ".safetensors") return Format::safetensors;
  if (extension == ".npz") return Format::npz;
  fail("--out ", file.string(), ": the name must end in .png (a sheet), .safetensors or .npz");
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

/// A number, the name of a class, or "none" for the null label. The range is the task's to check.
int64_t parse_label(const std::string& text, const models::Model& model,
                    const data::DatasetInfo& info) {
  int64_t label = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), label);
  if (error == std::errc() && end == text.data() + text.size()) return label;
  if (lower(text) == "none" && model.has_null_label()) return model.args().classes;
  const auto found =
      std::find_if(info.class_names.begin(), info.class_names.end(),
                   [&](const std::string& name) { return lower(name) == lower(text); });
  if (found != info.class_names.end()) return found - info.class_names.begin();
  require(!info.class_names.empty(), "label '", text,
          "' is not a number, and these weights name no classes: use 0 to ",
          model.args().classes - 1);
  const std::string meant = nearest(text, info.class_names);
  fail("label '", text, "' is neither a number nor one of the classes",
       meant.empty() ? "" : "; did you mean '" + meant + "'?", " There are ",
       join_list(info.class_names));
}

/// The labels that samples take in turn: those asked for, else all classes, or ten of them spread
/// evenly where there are more.
std::vector<int64_t> choose_labels(const SampleArguments& arguments, const models::Model& model,
                                   const data::DatasetInfo& info) {
  const int64_t classes = model.args().classes;
  require(classes > 0 || arguments.labels.empty(),
          "--labels: this model was trained without labels; leave them out");
  std::vector<int64_t> labels;
  for (const std::string& text : arguments.labels) labels.push_back(parse_label(text, model, info));
  return labels.empty() ? training::shown_classes(classes) : labels;
}

/// What the recipe's [sample] table says, changed by the command line.
tasks::SampleRequest make_request(const SampleArguments& arguments,
                                  const training::Restored& restored,
                                  const std::vector<int64_t>& labels) {
  const models::Model& model = *restored.model;
  tasks::SampleRequest request = training::sample_request(restored.recipe);
  if (!arguments.sampler.empty() && arguments.sampler != request.sampler.kind())
    request.sampler.choose(arguments.sampler);
  if (arguments.steps) request.steps = *arguments.steps;
  if (arguments.seed) request.seed = static_cast<uint64_t>(*arguments.seed);
  if (!arguments.channels.empty()) request.guidance.channels = arguments.channels;
  if (!arguments.interval.empty()) {
    request.guidance.from = arguments.interval[0];
    request.guidance.to = arguments.interval[1];
  }
  if (arguments.guidance) {
    require(model.args().classes > 0 || *arguments.guidance == 1,
            "--guidance: this model was trained without labels, so there is nothing to guide by");
    request.guidance.scale = *arguments.guidance;
  }
  request.first = arguments.first;
  request.batch = arguments.batch;

  const auto cycle = static_cast<int64_t>(labels.size());
  const int64_t count = arguments.count.value_or(cycle * restored.recipe.sample.per_class);
  for (int64_t i = 0; i < count; ++i)
    request.labels.push_back(labels[static_cast<size_t>((request.first + i) % cycle)]);
  return request;
}

/// About a square, in which a label keeps its columns.
int64_t sheet_columns(int64_t count, int64_t cycle) {
  const auto side = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  return std::max<int64_t>(1, (side + cycle / 2) / cycle) * cycle;
}

at::Tensor draw(const training::Restored& restored, tasks::SampleRequest request) {
  const auto count = static_cast<double>(request.labels.size());
  std::optional<Progress> progress;
  request.progress = [&](int64_t done, int64_t total) {
    if (!progress)
      progress.emplace(ProgressOptions{.label = "sample",
                                       .unit = "image",
                                       .units_per_step = count / static_cast<double>(total),
                                       .total = total});
    progress->update(done);
  };
  return restored.task->sample(*restored.model, request);
}

/// What the weights in 8 bits change, as text.
std::string measure_int8(const training::Restored& restored, const ops::Int8Weights& weights,
                         const tasks::SampleRequest& request) {
  std::optional<Progress> progress;
  const training::Int8Check check = training::check_int8(
      *restored.task, *restored.model, weights, request, [&](int64_t done, int64_t total) {
        if (!progress)
          progress.emplace(ProgressOptions{.label = "float32 and 8 bits", .total = total});
        progress->update(done);
      });
  return training::describe(check);
}

void write_dump(const fs::path& file, Format format, const at::Tensor& samples,
                const tasks::SampleRequest& request, const training::Restored& restored,
                bool int8) {
  std::vector<std::pair<std::string, at::Tensor>> tensors = {{"samples", samples}};
  if (restored.model->args().classes > 0) {
    at::Tensor labels = at::empty({samples.size(0)}, at::TensorOptions(at::kLong));
    std::copy(request.labels.begin(), request.labels.end(), labels.mutable_data_ptr<int64_t>());
    tensors.emplace_back("labels", labels);
  }
  if (format == Format::safetensors) {
    nn::save_tensors(file, tensors,
                     {{"seed", std::to_string(request.seed)},
                      {"first", std::to_string(request.first)},
                      {"sampler", request.sampler.kind()},
                      {"steps", std::to_string(request.steps)},
                      {"guidance", std::to_string(request.guidance.scale)},
                      {"precision", int8 ? "int8" : "float32"},
                      {"weights", restored.weights.string()}});
    return;
  }
  std::vector<formats::TensorView> views;
  for (const auto& [name, tensor] : tensors) views.push_back(nn::view_of(name, tensor));
  formats::write_npz(file, views);
}

void write_each(const fs::path& folder, const std::vector<formats::Image>& images,
                const tasks::SampleRequest& request, bool labelled) {
  for (size_t i = 0; i < images.size(); ++i) {
    char name[64];
    const auto index = static_cast<long long>(request.first) + static_cast<long long>(i);
    if (labelled)
      std::snprintf(name, sizeof name, "%06lld-label-%lld.png", index,
                    static_cast<long long>(request.labels[i]));
    else
      std::snprintf(name, sizeof name, "%06lld.png", index);
    formats::write_png(folder / name, images[i]);
  }
}

void sample(SampleArguments arguments) {
  for (const std::string& file : arguments.out) format_of(file);  // before anything costs time
  require(!arguments.raw || fs::is_directory(arguments.weights),
          "--raw chooses between the two weights of a run or a checkpoint, and '",
          arguments.weights, "' is not the folder of one");
  if (arguments.int8 && arguments.int8_check > 0)
    arguments.set.push_back("eval.samples=" + std::to_string(arguments.int8_check));
  const training::Restored restored =
      training::restore(arguments.weights, !arguments.raw, arguments.set);
  if (arguments.active) {
    const fs::path dial = training::folder_of(arguments.weights) / training::dial_file;
    require(fs::exists(dial), "--active needs the compute dial of these weights, and there is no ",
            dial.string(), ": run `gallop calibrate ", arguments.weights, " --active ",
            *arguments.active, "` first");
    training::turn_dial(*restored.model,
                        training::load_dial(dial, *arguments.active, restored.metadata));
  }
  const bool latent = restored.task->data_info().latent;
  if (arguments.out.empty() && arguments.each.empty())
    arguments.out = {latent ? "samples.safetensors" : "samples.png"};
  const bool pictures =
      !arguments.each.empty() ||
      std::any_of(arguments.out.begin(), arguments.out.end(),
                  [](const std::string& file) { return format_of(file) == Format::png; });
  require(!latent || !pictures,
          "this model makes latents, which are no pictures before a decoder has turned them into "
          "some; write them with --out samples.safetensors or --out samples.npz");
  const std::vector<int64_t> labels =
      choose_labels(arguments, *restored.model, restored.task->data_info());
  const tasks::SampleRequest request = make_request(arguments, restored, labels);

  // A folder that cannot be written is better known before the samples are drawn.
  if (!arguments.each.empty()) file_system().make_directories(arguments.each);
  for (const fs::path file : arguments.out)
    if (file.has_parent_path()) file_system().make_directories(file.parent_path());

  std::optional<ops::Int8Weights> int8;
  std::string change;
  if (arguments.int8) {
    restored.task->check(*restored.model, request);
    int8.emplace(training::make_int8_weights(*restored.model));
    if (arguments.int8_check > 0) change = measure_int8(restored, *int8, request);
  }
  std::optional<ops::Int8Guard> in_8_bits;
  if (int8) in_8_bits.emplace(*int8);
  const auto start = std::chrono::steady_clock::now();
  const at::Tensor samples = draw(restored, request);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  in_8_bits.reset();
  std::ostringstream settings;
  settings << "seed " << request.seed << ", " << request.sampler.kind() << ", " << request.steps
           << " steps";
  if (restored.model->args().classes > 0) settings << ", guidance " << request.guidance.scale;
  std::printf("%lld samples of %s in %s: %s\n", static_cast<long long>(samples.size(0)),
              restored.weights.c_str(), human_duration(time.count()).c_str(),
              settings.str().c_str());
  if (int8) std::printf("%s%s", training::describe(*int8, *restored.model).c_str(), change.c_str());

  const std::vector<formats::Image> images =
      pictures ? training::to_images(samples) : std::vector<formats::Image>();
  for (const std::string& file : arguments.out) {
    const Format format = format_of(file);
    if (format == Format::png) {
      const int64_t columns = sheet_columns(samples.size(0), static_cast<int64_t>(labels.size()));
      formats::write_png(file,
                         data::make_sheet(images, columns, data::sheet_scale(samples.size(2))));
    } else {
      write_dump(file, format, samples, request, restored, arguments.int8);
    }
    std::printf("wrote %s\n", file.c_str());
  }
  if (!arguments.each.empty()) {
    write_each(arguments.each, images, request, restored.model->args().classes > 0);
    std::printf("wrote %zu pictures to %s\n", images.size(), arguments.each.c_str());
  }
}

void add_options(CLI::App& command, SampleArguments& a) {
  command
      .add_option("weights", a.weights,
                  "run directory, checkpoint folder, or a safetensors file beside its config.toml")
      ->required();
  command
      .add_option("--labels", a.labels,
                  "classes, by number or name, or none (no class); sample i is of label i modulo "
                  "their number. Default: all, or ten of them spread evenly")
      ->delimiter(',')
      ->type_name("LABEL,...")
      ->allow_extra_args(false);
  command
      .add_option("--count", a.count,
                  "samples in all. Default: sample.per_class of the recipe for each label")
      ->check(CLI::PositiveNumber);
  command.add_option("--first", a.first, "index of the first sample; goes on where others ended")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--seed", a.seed, "key of the noise. Default: that of the recipe")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--sampler", a.sampler,
                     "how noise becomes an image (see `gallop components sampler`); its settings "
                     "are keys: --set sample.sampler.eta=1");
  command.add_option("--steps", a.steps, "steps of the sampler")->check(CLI::PositiveNumber);
  command.add_option("--guidance", a.guidance, "classifier-free guidance scale; 1: none")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option("--guidance-interval", a.interval,
                  "guidance acts between these noise levels (0 data, 1 noise), for example 0.2,0.8")
      ->delimiter(',')
      ->expected(2)
      ->type_name("FROM,TO");
  command.add_option("--guidance-channels", a.channels, "all, or first-3 as DiT did")
      ->check(CLI::IsMember({"all", "first-3"}));
  command
      .add_option("--active", a.active,
                  "experts a token on average: a setting of the compute dial, which `gallop "
                  "calibrate RUN --active K,...` measures")
      ->check(CLI::PositiveNumber);
  command.add_flag("--int8", a.int8,
                   "weights in 8 bits, activations brought to 8 bits as they come; CPU only. "
                   "Routers, modulations, the first and the last layer stay in float32");
  command
      .add_option("--int8-check", a.int8_check,
                  "held-out samples on which --int8 measures what it changes, beside four samples "
                  "drawn both ways; 0: do not measure")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command.add_option("--batch", a.batch, "samples at once; does not change them")
      ->check(CLI::PositiveNumber);
  command.add_flag("--raw", a.raw, "the trained weights instead of their moving average (EMA)");
  command
      .add_option("--out", a.out,
                  "FILE.png: a sheet; FILE.safetensors or FILE.npz: `samples` [N, C, H, W] in "
                  "[-1, 1] and `labels`; may be repeated. Default: samples.png")
      ->allow_extra_args(false);
  command.add_option("--each", a.each, "folder for a PNG of each sample");
  command.add_option("--set", a.set, "override a key: --set sample.steps=10; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
}

const Command registered{[](CLI::App& app) {
  auto arguments = std::make_shared<SampleArguments>();
  CLI::App* command = app.add_subcommand("sample", "draw images with trained weights");
  add_options(*command, *arguments);
  command->footer(
      "What is not given is that of the recipe's [sample] table. Sample i of a seed has the same "
      "noise whatever --count and --batch are:\n"
      "  gallop sample runs/fashion-mnist --labels 0,3,9 --count 16 --steps 50 --guidance 2 "
      "--seed 7 --out grid.png");
  command->callback([arguments] { sample(*arguments); });
}};

}  // namespace
}  // namespace gallop
