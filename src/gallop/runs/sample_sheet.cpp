#include "gallop/runs/sample_sheet.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "gallop/base/error.h"
#include "gallop/data/sheet.h"

namespace gallop::runs {

namespace {

constexpr int64_t most_classes = 10;

}  // namespace

tasks::SampleRequest sample_request(const Recipe& recipe) {
  tasks::SampleRequest request;
  request.sampler = recipe.sample.sampler;
  request.steps = recipe.sample.steps;
  request.guidance.scale = recipe.sample.guidance;
  request.guidance.from = recipe.sample.guidance_from;
  request.guidance.to = recipe.sample.guidance_to;
  request.guidance.channels = recipe.sample.guidance_channels;
  request.seed = static_cast<uint64_t>(recipe.seed);
  return request;
}

std::vector<int64_t> shown_classes(int64_t classes) {
  const int64_t shown = std::clamp<int64_t>(classes, 1, most_classes);
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < shown; ++i) labels.push_back(i * classes / shown);
  return labels;
}

std::vector<int64_t> labels_of_rows(const std::vector<int64_t>& rows, int64_t each) {
  std::vector<int64_t> labels;
  for (const int64_t label : rows) labels.insert(labels.end(), static_cast<size_t>(each), label);
  return labels;
}

std::vector<formats::Image> to_images(const at::Tensor& samples_NCHW) {
  const at::Tensor samples = samples_NCHW.to(at::kCPU, at::kFloat).contiguous();
  const int64_t N = samples.size(0), size = samples.numel() / std::max<int64_t>(N, 1);
  const float* data = samples.const_data_ptr<float>();
  std::vector<formats::Image> images;
  for (int64_t n = 0; n < N; ++n) {
    require(std::all_of(data + n * size, data + (n + 1) * size,
                        [](float value) { return std::isfinite(value); }),
            "no picture of sample ", n, ": it holds values that are NaN or infinite");
    images.push_back(data::to_image(std::span(data + n * size, static_cast<size_t>(size)),
                                    samples.size(1), samples.size(2), samples.size(3)));
  }
  return images;
}

formats::Image draw_sample_sheet(const tasks::Task& task, const models::Denoiser& model,
                                 tasks::SampleRequest request, int64_t per_class) {
  const int64_t classes = model.args().classes;
  const std::vector<int64_t> rows = classes == 0
                                        ? std::vector<int64_t>(static_cast<size_t>(per_class), 0)
                                        : shown_classes(classes);
  request.labels = labels_of_rows(rows, per_class);
  const at::Tensor samples = task.sample(model, request);
  return data::make_sheet(to_images(samples), per_class, data::sheet_scale(samples.size(3)));
}

std::vector<formats::Artifact> generate(
    const Recipe& recipe, const tasks::Task& task, const models::Denoiser& model,
    const std::function<void(int64_t done, int64_t total)>& progress) {
  tasks::SampleRequest request = sample_request(recipe);
  request.progress = progress;
  return {{"samples", draw_sample_sheet(task, model, request, recipe.sample.per_class)}};
}

}  // namespace gallop::runs
