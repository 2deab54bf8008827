#include "gallop/tasks/draw_samples.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <limits>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/diffusion/samplers/sampler.h"
#include "gallop/models/packed_forward.h"
#include "gallop/tasks/keyed_noise.h"

namespace gallop::tasks {
namespace {

using diffusion::Denoiser;
using diffusion::Process;
using diffusion::Sampler;

std::unique_ptr<Sampler> make_sampler(const std::shared_ptr<const Process>& process,
                                      const SampleRequest& request) {
  return config::make<Sampler>(request.sampler, {.process = process, .steps = request.steps});
}

/// The settings of the samples first <= i < first + count of a request.
sparse::RowThresholds thresholds_of(const SampleRequest& request, int64_t first, int64_t count,
                                    at::Device device) {
  const auto& asked = request.thresholds;
  if (asked.size() <= 1) return {asked, {}};
  sparse::RowThresholds settings;
  settings.setting_B = at::empty({count}, at::TensorOptions(at::kLong));
  auto* setting = settings.setting_B.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i) {
    auto& all = settings.settings;
    const auto found = std::find(all.begin(), all.end(), asked[static_cast<size_t>(first + i)]);
    setting[i] = found - all.begin();
    if (found == all.end()) all.push_back(asked[static_cast<size_t>(first + i)]);
  }
  settings.setting_B = settings.setting_B.to(device);
  return settings;
}

/// The network at inference for the labels of one batch.
Denoiser denoiser(const models::Denoiser& model, const std::shared_ptr<const Process>& process,
                  const SampleRequest& request, const at::Tensor& label_B,
                  const sparse::RowThresholds& thresholds) {
  const diffusion::LabelledDenoiser network =
      [&model, &thresholds](const at::Tensor& x, const at::Tensor& t_B, const at::Tensor& y_B) {
        sparse::RowThresholds of_rows = thresholds;
        // Guidance runs the samples twice in one forward.
        if (of_rows.setting_B.defined()) {
          of_rows.setting_B = of_rows.setting_B.repeat({x.size(0) / of_rows.setting_B.size(0)});
        }
        return model.forward(x, {.timestep_B = t_B, .label_B = y_B, .thresholds = &of_rows});
      };
  if (model.args().classes == 0)
    return [network](const at::Tensor& x, const at::Tensor& t_B) { return network(x, t_B, {}); };
  const at::Tensor null_B = at::full(label_B.sizes(), model.args().classes, label_B.options());
  return diffusion::guided(network, process, request.guidance, label_B, null_B);
}

}  // namespace

void check_request(const models::Denoiser& model, const std::shared_ptr<const Process>& process,
                   const SampleRequest& request) {
  make_sampler(process, request);
  request.guidance.validate();
  require(request.batch > 0, "samples are drawn ", request.batch, " at once; give at least 1");
  require(request.first >= 0, "the first sample is ", request.first, "; samples count from 0");
  const auto count = static_cast<int64_t>(request.labels.size());
  require(count <= std::numeric_limits<int64_t>::max() - request.first, count,
          " samples from number ", request.first, " on would count beyond 2^63 - 1");
  const auto settings = static_cast<int64_t>(request.thresholds.size());
  require(settings <= 1 || settings == count, settings, " settings of the thresholds for ", count,
          " samples: give one for all, or one for each");
  const int64_t classes = model.args().classes;
  if (classes == 0) return;
  for (const int64_t label : request.labels) {
    require(label >= 0 && label < classes + (model.has_null_label() ? 1 : 0), "label ", label,
            " is out of range: the model knows 0 to ", classes - 1,
            model.has_null_label() ? ", and " + std::to_string(classes) + " for no class" : "");
  }
  require(request.guidance.scale == 1 || model.has_null_label(), "guidance of scale ",
          request.guidance.scale,
          " needs a null label, and this model has none (model.label_dropout = 0): use scale 1");
}

namespace {

/// Throws Error unless all of a batch are finite.
void require_finite(const at::Tensor& samples_BCHW, const SampleRequest& request, int64_t begin) {
  const at::Tensor finite_B = samples_BCHW.isfinite().flatten(1).all(1);
  if (finite_B.all().item<bool>()) return;
  const int64_t bad = finite_B.to(at::kLong).argmin(0).item<int64_t>();
  const at::Tensor sample = samples_BCHW.select(0, bad);
  const int64_t wrong = sample.isfinite().logical_not().sum().item<int64_t>();
  fail("sample ", request.first + begin + bad, " (label ",
       request.labels[static_cast<size_t>(begin + bad)], ") is not finite: ", wrong, " of its ",
       sample.numel(), " values are NaN or infinite, and ",
       finite_B.logical_not().sum().item<int64_t>(), " of the ", samples_BCHW.size(0),
       " samples of its batch are so. Look at the weights with "
       "`gallop inspect`, or try less guidance, more steps or another sampler");
}

}  // namespace

at::Tensor draw_samples(const models::Denoiser& model,
                        const std::shared_ptr<const Process>& process,
                        const SampleRequest& request) {
  check_request(model, process, request);
  const at::NoGradGuard no_grad;
  const models::PackedForward packed(model);
  const std::unique_ptr<Sampler> sampler = make_sampler(process, request);
  const models::Denoiser::Args& sizes = model.args();
  const std::vector<int64_t> shape = {sizes.channels, sizes.height, sizes.width};
  const auto count = static_cast<int64_t>(request.labels.size());
  const int64_t batch = std::clamp<int64_t>(count, 1, request.batch);
  const int64_t batches = (count + batch - 1) / batch;
  const at::Device device = (*model.parameters().at(0))->device();

  std::vector<at::Tensor> drawn = {at::empty({0, shape[0], shape[1], shape[2]})};
  for (int64_t n = 0; n < batches; ++n) {
    const int64_t begin = n * batch, size = std::min(batch, count - begin);
    const int64_t first = request.first + begin;
    at::Tensor label_B = at::empty({size}, at::TensorOptions(at::kLong));
    std::copy_n(request.labels.begin() + begin, size, label_B.mutable_data_ptr<int64_t>());

    const sparse::RowThresholds thresholds = thresholds_of(request, begin, size, device);
    const NoiseKey start{.seed = request.seed, .purpose = "sample"};
    const NoiseKey steps{.seed = request.seed, .purpose = "sampler"};
    const auto step_noise = [&](int64_t step) {
      return keyed_noise(steps.with_step(step), first, size, shape).to(device);
    };
    const auto on_step = [&](const diffusion::StepState& state) {
      if (request.progress)
        request.progress(n * state.steps + state.step + 1, batches * state.steps);
    };
    drawn.push_back(sampler
                        ->sample(denoiser(model, process, request, label_B.to(device), thresholds),
                                 keyed_noise(start, first, size, shape).to(device), step_noise,
                                 on_step)
                        .to(at::kCPU, at::kFloat));
    require_finite(drawn.back(), request, begin);
  }
  return at::cat(drawn);
}

}  // namespace gallop::tasks
