#include "gallop/tasks/images/image_generator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <sstream>

#include "gallop/base/cpu.h"
#include "gallop/base/error.h"
#include "gallop/base/format.h"
#include "gallop/base/human.h"
#include "gallop/base/number.h"
#include "gallop/config/value.h"
#include "gallop/data/class_labels.h"
#include "gallop/data/sheet.h"
#include "gallop/tasks/images/image_session.h"

namespace gallop::tasks {
namespace {

constexpr int64_t most_classes = 10;

const models::Denoiser& denoiser(const models::Model& model) {
  return dynamic_cast<const models::Denoiser&>(model);
}

const SampleSettings& settings_of(const Plan& plan) {
  return dynamic_cast<const SampleSettings&>(*plan.requests.at(0).settings);
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

/// About a square, in which a label keeps its columns.
int64_t columns_of(int64_t count, int64_t cycle) {
  const auto side = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  return std::max<int64_t>(1, (side + cycle / 2) / cycle) * cycle;
}

formats::Image to_image(const at::Tensor& sample_CHW, int64_t number) {
  const at::Tensor sample = sample_CHW.to(at::kCPU, at::kFloat).contiguous();
  require(sample.isfinite().all().item<bool>(), "no picture of sample ", number,
          ": it holds values that are NaN or infinite");
  return data::to_image(
      std::span(sample.const_data_ptr<float>(), static_cast<size_t>(sample.numel())),
      sample.size(0), sample.size(1), sample.size(2));
}

const at::Tensor& samples_of(const Made& made) { return made.tensors.at("samples"); }

struct Labels {
  std::vector<int64_t> numbers;    // that samples take in turn
  std::vector<std::string> notes;  // other readings that there were
  std::string asked;
};

/// The labels that were asked for, else all classes or ten of them.
Labels read_labels(const std::vector<std::string>& entries, const data::ClassLabels& known) {
  constexpr size_t shown = 10;
  Labels labels;
  if (entries.empty()) {
    labels.numbers = shown_classes(known.classes);
    return labels;
  }
  require(known.classes > 0,
          "labels were asked for, and this model was trained without labels; leave --labels and "
          "--label out");
  for (const std::string& entry : entries) {
    const data::ResolvedLabel found = data::resolve_label(data::label_of_entry(entry), known);
    if (!found.note.empty()) labels.notes.push_back(found.note);
    labels.numbers.push_back(found.label);
  }
  for (size_t i = 0; i < std::min(labels.numbers.size(), shown); ++i)
    labels.asked += (i == 0 ? "" : ", ") + data::shown_label(labels.numbers[i], known);
  if (labels.numbers.size() > shown) labels.asked += ", ...";
  return labels;
}

}  // namespace

std::vector<int64_t> shown_classes(int64_t classes) {
  const int64_t shown = std::clamp<int64_t>(classes, 1, most_classes);
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < shown; ++i) labels.push_back(i * classes / shown);
  return labels;
}

// Sample i is of label number i.
Plan ImageGenerator::plan_of(const models::Model& any, const SampleSettings& settings,
                             const std::vector<int64_t>& labels) const {
  Plan plan{.rows = settings.batch};
  const auto shared = std::make_shared<const SampleSettings>(settings);
  const uint64_t seed =
      settings.seed.empty() ? seed_ : whole_number<uint64_t>(settings.seed).value_or(0);
  const bool conditional = denoiser(any).args().classes > 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    plan.requests.push_back({.seed = seed,
                             .index = settings.first + static_cast<int64_t>(i),
                             .condition = conditional ? Json(labels[i]) : Json(),
                             .settings = shared});
  }
  require_possible(denoiser(any), objective_, plan.requests);
  return plan;
}

Plan ImageGenerator::plan(const models::Model& any, const config::Struct& asked) const {
  const auto& settings = dynamic_cast<const SampleSettings&>(asked);
  settings.validate();
  const models::Denoiser& model = denoiser(any);
  const Labels labels = read_labels(settings.labels, {.classes = model.args().classes,
                                                      .names = data_->info().class_names,
                                                      .null_label = model.has_null_label()});
  const auto cycle = static_cast<int64_t>(labels.numbers.size());
  const int64_t count = settings.count.value_or(cycle * settings.per_class);
  require_room(count, model.args());
  std::vector<int64_t> of_samples;
  for (int64_t i = 0; i < count; ++i)
    of_samples.push_back(labels.numbers[static_cast<size_t>((settings.first + i) % cycle)]);
  Plan plan = plan_of(any, settings, of_samples);
  plan.columns = columns_of(count, cycle);
  plan.notes = labels.notes;
  const data::DatasetInfo& info = data_->info();
  if (info.kind.empty() && info.latent && !data_->args().named) {
    plan.notes.push_back("samples of " + std::to_string(info.channels) +
                         " channels are taken for latents: they are not clamped to [-1, 1]");
  }
  plan.asked = labels.asked;
  std::ostringstream summary;
  summary << "seed " << plan.requests[0].seed << ", " << settings.sampler.kind() << ", "
          << settings.steps << " steps";
  if (model.args().classes > 0) summary << ", guidance " << settings.guidance;
  plan.summary = summary.str();
  if (model.args().classes == 0) {
    const std::string reason =
        "this model was trained without labels, so there is nothing to guide by";
    if (settings.guidance != 1) plan.without_effect.emplace_back("guidance", reason);
    for (const char* key : {"guidance_from", "guidance_to", "guidance_channels"})
      plan.without_effect.emplace_back(key, reason);
  }
  return plan;
}

Plan ImageGenerator::sheet(const models::Model& any) const {
  const models::Denoiser& model = denoiser(any);
  const int64_t classes = model.args().classes, each = settings_.per_class;
  std::vector<int64_t> rows(static_cast<size_t>(each), 0);
  if (classes > 0) {
    rows = read_labels(settings_.labels, {.classes = classes,
                                          .names = data_->info().class_names,
                                          .null_label = model.has_null_label()})
               .numbers;
  }
  std::vector<int64_t> labels;
  for (const int64_t label : rows) labels.insert(labels.end(), static_cast<size_t>(each), label);
  Plan plan = plan_of(any, settings_, labels);
  plan.columns = each;
  return plan;
}

std::unique_ptr<Session> ImageGenerator::begin(const models::Model& model,
                                               const std::vector<Request>& requests,
                                               int64_t rows) const {
  auto session = std::make_unique<ImageSession>(ImageSession::Args{.model = denoiser(model),
                                                                   .objective = objective_,
                                                                   .rows = rows,
                                                                   .clamped = !data_->info().latent,
                                                                   .precision = precision_});
  session->add(requests);
  return session;
}

std::string ImageGenerator::not_shown() const {
  if (!data_->info().latent) return {};
  return "this model makes latents, which are no pictures before a decoder has turned them into "
         "some; write them with --out samples.safetensors or --out samples.npz";
}

formats::Artifact ImageGenerator::show(const Plan& plan, const std::vector<Made>& made) const {
  std::vector<formats::Image> images;
  for (const Made& one : made) {
    images.push_back(to_image(samples_of(one), plan.requests[one.request].index));
  }
  const int64_t side = made.empty() ? 1 : samples_of(made[0]).size(1);
  return {"samples", data::make_sheet(images, plan.columns, data::sheet_scale(side))};
}

std::pair<std::string, formats::Artifact> ImageGenerator::show_one(const Request& request,
                                                                   const Made& made) const {
  const auto index = static_cast<long long>(request.index);
  const std::string name =
      request.condition.is_int()
          ? format("%06lld-label-%lld", index, static_cast<long long>(request.condition.as_int()))
          : format("%06lld", index);
  return {name, {"samples", to_image(samples_of(made), request.index)}};
}

std::vector<std::pair<std::string, at::Tensor>> ImageGenerator::tensors(
    const Plan& plan, const std::vector<Made>& made) const {
  std::vector<at::Tensor> samples;
  for (const Made& one : made) samples.push_back(samples_of(one));
  std::vector<std::pair<std::string, at::Tensor>> tensors = {{"samples", at::stack(samples)}};
  if (plan.requests.at(0).condition.is_int()) {
    at::Tensor labels =
        at::empty({static_cast<int64_t>(made.size())}, at::TensorOptions(at::kLong));
    auto* label = labels.mutable_data_ptr<int64_t>();
    for (const Made& one : made) *label++ = plan.requests[one.request].condition.as_int();
    tensors.emplace_back("labels", labels);
  }
  return tensors;
}

std::vector<std::pair<std::string, std::string>> ImageGenerator::how(const Plan& plan) const {
  const SampleSettings& settings = settings_of(plan);
  return {{"seed", std::to_string(plan.requests[0].seed)},
          {"first", std::to_string(settings.first)},
          {"sampler", settings.sampler.kind()},
          {"steps", std::to_string(settings.steps)},
          {"guidance", config::to_text(settings.guidance)},
          {"batch", std::to_string(settings.batch)}};
}

}  // namespace gallop::tasks
