// gallop sample: draws images with trained weights.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "gallop/base/cpu.h"
#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/format.h"
#include "gallop/base/human.h"
#include "gallop/base/log.h"
#include "gallop/base/progress.h"
#include "gallop/command.h"
#include "gallop/compute/dial.h"
#include "gallop/compute/int8_check.h"
#include "gallop/config/value.h"
#include "gallop/data/class_labels.h"
#include "gallop/data/sheet.h"
#include "gallop/formats/npz.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/number_options.h"
#include "gallop/ops/inference/int8.h"
#include "gallop/options.h"
#include "gallop/runs/checkpoint.h"
#include "gallop/runs/device.h"
#include "gallop/runs/restore.h"
#include "gallop/runs/sample_sheet.h"
#include "gallop/sparse/choice/mixing.h"

namespace gallop {
namespace {

constexpr int64_t int8_check_samples = 256;

struct SampleArguments {
  std::string weights, sampler, channels, each;
  std::vector<std::string> labels, names, out, set;
  std::vector<double> interval;
  std::optional<int64_t> count, steps, int8_check;
  std::optional<uint64_t> seed;
  std::optional<double> guidance, active;
  int64_t first = 0, batch = 64;
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

/// Throws Error where so many samples cannot be held in memory.
void require_room(int64_t count, const models::Denoiser::Args& sizes) {
  const uint64_t available = memory_info().available;
  // Of all batches, joined, clamped.
  const double bytes = 3.0 * sizeof(float) * static_cast<double>(count) *
                       static_cast<double>(sizes.channels * sizes.height * sizes.width);
  require(available == 0 || bytes < static_cast<double>(available), "--count ", count,
          ": so many samples take ",
          bytes < 1e18 ? human_bytes(static_cast<uint64_t>(bytes)) : "more than 2^59 bytes",
          " of memory, and ", human_bytes(available),
          " are there: draw them in parts with --first");
}

/// The recipe's keys that options stand for, as overrides: all are applied together, the kind of a
/// component before its settings.
std::vector<std::string> overrides_of(const SampleArguments& a) {
  std::vector<std::string> set = a.set;
  const auto add = [&](const char* option, const char* key, const auto& value) {
    override_by_option(set, option, key, config::to_text(value));
  };
  if (!a.sampler.empty()) {
    require_not_set(set, "--sampler", {"sample.sampler"});
    add("--sampler", "sample.sampler.kind", a.sampler);
  }
  if (a.steps) add("--steps", "sample.steps", *a.steps);
  if (a.guidance) add("--guidance", "sample.guidance", *a.guidance);
  if (!a.channels.empty()) add("--guidance-channels", "sample.guidance_channels", a.channels);
  if (!a.interval.empty()) {
    require(a.interval.size() == 2, "--guidance-interval takes two noise levels, FROM,TO, not ",
            a.interval.size());
    add("--guidance-interval", "sample.guidance_from", a.interval[0]);
    add("--guidance-interval", "sample.guidance_to", a.interval[1]);
  }
  if (a.seed) require_not_set(set, "--seed", {"seed"});
  if (a.int8_check && *a.int8_check > 0) {
    add("--int8-check", "eval.samples", *a.int8_check);
  } else if (a.int8 && !a.int8_check &&
             !config::is_stated(config::keys_of_overrides(set), "eval.samples")) {
    add("--int8", "eval.samples", int8_check_samples);
  }
  return set;
}

data::ClassLabels known_labels(const runs::Restored& restored) {
  return {.classes = restored.model->args().classes,
          .names = restored.task->data_info().class_names,
          .null_label = restored.model->has_null_label()};
}

/// The labels that samples take in turn: those asked for, else all classes, or ten of them spread
/// evenly where there are more.
std::vector<int64_t> choose_labels(const SampleArguments& arguments,
                                   const runs::Restored& restored) {
  const int64_t classes = restored.model->args().classes;
  std::vector<data::LabelText> texts;
  for (const std::string& list : arguments.labels) {
    for (data::LabelText& text : data::split_labels(list)) texts.push_back(std::move(text));
  }
  for (const std::string& name : arguments.names) texts.push_back({name});
  if (texts.empty()) return runs::shown_classes(classes);
  require(classes > 0,
          "--labels and --label: this model was trained without labels; leave them out");
  const data::ClassLabels known = known_labels(restored);
  std::vector<int64_t> labels;
  for (const data::LabelText& text : texts) {
    const data::ResolvedLabel found = data::resolve_label(text, known);
    if (!found.note.empty()) log_info(found.note);
    labels.push_back(found.label);
  }
  return labels;
}

/// What the recipe's [sample] table says, changed by the command line.
tasks::SampleRequest make_request(const SampleArguments& arguments, const runs::Restored& restored,
                                  const std::vector<int64_t>& labels) {
  const models::Denoiser& model = *restored.model;
  tasks::SampleRequest request = runs::sample_request(restored.recipe);
  if (arguments.seed) request.seed = *arguments.seed;
  const bool guides = arguments.guidance.value_or(1) != 1 || !arguments.interval.empty() ||
                      !arguments.channels.empty();
  require(model.args().classes > 0 || !guides,
          "--guidance: this model was trained without labels, so there is nothing to guide by");
  request.first = arguments.first;
  request.batch = arguments.batch;

  const auto cycle = static_cast<int64_t>(labels.size());
  const int64_t count = arguments.count.value_or(cycle * restored.recipe.sample.per_class);
  require(count <= std::numeric_limits<int64_t>::max() - request.first, "--count ", count,
          " samples from --first ", request.first, " on would count beyond 2^63 - 1");
  require_room(count, model.args());
  for (int64_t i = 0; i < count; ++i)
    request.labels.push_back(labels[static_cast<size_t>((request.first + i) % cycle)]);
  return request;
}

/// The labels asked for as the program read them.
std::string shown_labels(const std::vector<int64_t>& labels, const data::ClassLabels& known) {
  constexpr size_t most = 10;
  std::string text;
  for (size_t i = 0; i < std::min(labels.size(), most); ++i)
    text += (i == 0 ? "" : ", ") + data::shown_label(labels[i], known);
  return text + (labels.size() > most ? ", ..." : "");
}

/// Says where samples depend on what is drawn beside them.
void warn_of_mixing(const runs::Restored& restored, const tasks::SampleRequest& request) {
  const auto mixing = sparse::selections_that_mix_samples(*restored.model);
  if (mixing.empty()) return;
  log_warning(
      "samples depend on those drawn beside them, since they compete for experts in ",
      mixing.front(),
      mixing.size() > 1 ? " and " + std::to_string(mixing.size() - 1) + " other layers" : "",
      ": --batch ", request.batch,
      ", --first, --count, the labels and the guidance are part of what is drawn");
}

/// About a square, in which a label keeps its columns.
int64_t sheet_columns(int64_t count, int64_t cycle) {
  const auto side = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  return std::max<int64_t>(1, (side + cycle / 2) / cycle) * cycle;
}

at::Tensor draw(const runs::Restored& restored, tasks::SampleRequest request) {
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
std::string measure_int8(const runs::Restored& restored, const ops::Int8Weights& weights,
                         const tasks::SampleRequest& request) {
  std::optional<Progress> progress;
  const compute::Int8Check check = compute::check_int8(
      *restored.task, *restored.model, weights, request, [&](int64_t done, int64_t total) {
        if (!progress)
          progress.emplace(ProgressOptions{.label = "float32 and 8 bits", .total = total});
        progress->update(done);
      });
  return compute::describe(check);
}

void write_dump(const fs::path& file, Format format, const at::Tensor& samples,
                const tasks::SampleRequest& request, const runs::Restored& restored, bool int8) {
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
                      {"guidance", config::to_text(request.guidance.scale)},
                      {"batch", std::to_string(request.batch)},
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
    const auto index = static_cast<long long>(request.first) + static_cast<long long>(i);
    const std::string name =
        labelled ? format("%06lld-label-%lld.png", index, static_cast<long long>(request.labels[i]))
                 : format("%06lld.png", index);
    formats::write_png(folder / name, images[i]);
  }
}

void sample(const SampleArguments& arguments) {
  for (const std::string& file : arguments.out) format_of(file);  // before anything costs time
  require(!arguments.raw || fs::is_directory(arguments.weights),
          "--raw chooses between the two weights of a run or a checkpoint, and '",
          arguments.weights, "' is not the folder of one");
  require(arguments.int8 || !arguments.int8_check, "--int8-check belongs to --int8");
  const runs::Restored restored =
      runs::restore(arguments.weights, !arguments.raw, overrides_of(arguments));
  runs::use_threads(restored.recipe);
  std::optional<compute::DialSetting> dial_setting;
  if (arguments.active) {
    const fs::path dial = runs::folder_of(arguments.weights) / compute::dial_file;
    require(fs::exists(dial), "--active needs the compute dial of these weights, and there is no ",
            dial.string(), ": run `gallop calibrate ", arguments.weights, " --active ",
            *arguments.active, "` first");
    dial_setting = compute::load_dial(dial, *arguments.active, restored.metadata);
    compute::require_fit(*restored.model, *dial_setting);
  }
  const bool latent = restored.task->data_info().latent;
  std::vector<std::string> out = arguments.out;
  if (out.empty() && arguments.each.empty()) out = {latent ? "samples.safetensors" : "samples.png"};
  const bool pictures =
      !arguments.each.empty() || std::any_of(out.begin(), out.end(), [](const std::string& file) {
        return format_of(file) == Format::png;
      });
  require(!latent || !pictures,
          "this model makes latents, which are no pictures before a decoder has turned them into "
          "some; write them with --out samples.safetensors or --out samples.npz");
  const std::vector<int64_t> labels = choose_labels(arguments, restored);
  tasks::SampleRequest request = make_request(arguments, restored, labels);
  if (dial_setting) request.thresholds = {&dial_setting->thresholds};
  restored.task->check(*restored.model, request);
  warn_of_mixing(restored, request);

  // A folder that cannot be written is better known before the samples are drawn.
  if (!arguments.each.empty()) file_system().make_directories(arguments.each);
  for (const fs::path file : out)
    if (file.has_parent_path()) file_system().make_directories(file.parent_path());

  std::optional<ops::Int8Weights> int8;
  std::string change;
  if (arguments.int8) {
    int8.emplace(compute::make_int8_weights(*restored.model));
    if (arguments.int8_check.value_or(1) > 0) change = measure_int8(restored, *int8, request);
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
  if (!arguments.labels.empty() || !arguments.names.empty())
    std::printf("labels %s\n", shown_labels(labels, known_labels(restored)).c_str());
  if (int8) std::printf("%s%s", compute::describe(*int8, *restored.model).c_str(), change.c_str());

  const std::vector<formats::Image> images =
      pictures ? runs::to_images(samples) : std::vector<formats::Image>();
  for (const std::string& file : out) {
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
                  "classes, by name or number, or none (no class); sample i is of label i modulo "
                  "their number. A name with a comma stands in double quotes; @none is no class "
                  "and @7 class 7 whatever the classes are called. Default: all, or ten of them "
                  "spread evenly")
      ->type_name("LABEL,...")
      ->allow_extra_args(false);
  command
      .add_option("--label", a.names,
                  "one class, commas and all; after those of --labels; may be "
                  "repeated")
      ->type_name("LABEL")
      ->allow_extra_args(false);
  add_whole_number(command, "--count", a.count,
                   "samples in all. Default: sample.per_class of the recipe for each label",
                   {.min = 1});
  add_whole_number(command, "--first", a.first,
                   "index of the first sample; goes on where others ended", {.min = 0});
  add_whole_number(command, "--seed", a.seed, "key of the noise. Default: that of the recipe");
  command.add_option("--sampler", a.sampler,
                     "how noise becomes an image (see `gallop components sampler`); its settings "
                     "are keys: --set sample.sampler.eta=1");
  add_whole_number(command, "--steps", a.steps, "steps of the sampler",
                   {.min = 1, .max = 1'000'000});
  add_number(command, "--guidance", a.guidance, "classifier-free guidance scale; 1: none",
             config::at_least(0));
  add_numbers(command, "--guidance-interval", a.interval,
              "guidance acts between these noise levels (0 data, 1 noise), for example 0.2,0.8",
              config::between(0, 1))
      ->type_name("FROM,TO");
  command.add_option("--guidance-channels", a.channels, "all, or first-3 as DiT did")
      ->check(CLI::IsMember({"all", "first-3"}));
  add_number(command, "--active", a.active,
             "experts a token on average: a setting of the compute dial, which `gallop calibrate "
             "RUN --active K,...` measures",
             config::positive());
  command.add_flag("--int8", a.int8,
                   "weights in 8 bits, activations brought to 8 bits as they come; CPU only. "
                   "Routers, modulations, the first and the last layer stay in float32");
  add_whole_number(command, "--int8-check", a.int8_check,
                   "held-out samples on which --int8 measures what it changes, beside four samples "
                   "drawn both ways; 0: do not measure. Default: 256",
                   {.min = 0});
  add_whole_number(command, "--batch", a.batch,
                   "samples at once. Changes them by rounding alone, unless a selection lets the "
                   "samples of a batch compete outside training (diffmoe by count, capacity by "
                   "dropping, top-k over a batch): then there is a warning",
                   {.min = 1});
  command.add_flag("--raw", a.raw, "the trained weights instead of their moving average (EMA)");
  command
      .add_option("--out", a.out,
                  "FILE.png: a sheet; FILE.safetensors or FILE.npz: `samples` [N, C, H, W] in "
                  "[-1, 1] and `labels`; may be repeated. Default: samples.png")
      ->allow_extra_args(false);
  command.add_option("--each", a.each, "folder for a PNG of each sample");
  add_overrides(command, a.set);
}

const Command registered{[](CLI::App& app) {
  auto arguments = std::make_shared<SampleArguments>();
  CLI::App* command = app.add_subcommand("sample", "draw images with trained weights");
  add_options(*command, *arguments);
  command->footer(
      "What is not given is that of the recipe's [sample] table. Sample i of a seed has the same "
      "noise whatever --count and --batch are. A name of a class counts before a number:\n"
      "  gallop sample runs/fashion-mnist --labels 0,3,9 --count 16 --steps 50 --guidance 2 "
      "--seed 7 --out grid.png");
  command->callback([arguments] { sample(*arguments); });
}};

}  // namespace
}  // namespace gallop
