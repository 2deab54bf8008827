#include "gallop/diffusion/flow_objective.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"

namespace gallop::diffusion {
namespace {

const config::RegisterKind<Objective, FlowObjective, FlowSettings> registered{
    "flow", "flow matching between noise and data, predicting velocity, noise or score",
    "SiT, arXiv 2401.08740; Lipman et al., arXiv 2210.02747"};

}  // namespace

void FlowSettings::fields(config::Visitor& v) {
  v.field("path", path, "how noise turns into data: linear, trigonometric (gvp) or diffusion (vp)",
          {"linear", "gvp", "vp"});
  v.field("prediction", prediction, "what the network puts out", {"velocity", "noise", "score"});
  v.field("time", time, "distribution of the training times", {"uniform", "logit-normal"});
  v.field("weighting", weighting, "weight over time of a noise or score loss",
          {"none", "velocity", "likelihood"});
  v.field("reversed", reversed,
          "time 1 is noise and the velocity points from data to noise (DiT-MoE, ProMoE, REPA)");
  v.field("time_scale", time_scale, "the network is told the time times this (ProMoE: 1000)",
          config::positive());
  v.field("double_output", double_output,
          "the network has twice the channels and the second half is ignored (SiT checkpoints)");
}

void FlowSettings::validate() const {
  require(
      weighting == "none" || prediction != "velocity", "weighting = \"", weighting,
      "\" has no meaning for prediction = \"velocity\"; use weighting = \"none\", or predict noise "
      "or score");
}

FlowObjective::FlowObjective(const FlowSettings& settings)
    : flow_(parse_flow_path(settings.path), parse_flow_prediction(settings.prediction)),
      weight_(parse_flow_weight(settings.weighting)),
      logit_normal_(settings.time == "logit-normal"),
      reversed_(settings.reversed),
      double_output_(settings.double_output),
      time_scale_(settings.time_scale) {
  require(logit_normal_ || settings.time == "uniform", "unknown time distribution '", settings.time,
          "' of a flow objective; there are uniform and logit-normal");
}

at::Tensor FlowObjective::path_time(const at::Tensor& t_B) const {
  return reversed_ ? 1.0 - t_B.to(c10::kDouble) : t_B;
}

at::Tensor FlowObjective::oriented(const at::Tensor& output) const {
  return reversed_ && flow_.prediction() == FlowPrediction::velocity ? -output : output;
}

at::Tensor FlowObjective::image_channels(const at::Tensor& output, int64_t channels) const {
  const int64_t want = output_channels(channels);
  require(output.dim() > 1 && output.size(1) == want, "the network put out ",
          output.dim() > 1 ? output.size(1) : 0, " channels for images of ", channels,
          "; this flow objective needs ", want, " (see double_output)");
  return double_output_ ? output.narrow(1, 0, channels) : output;
}

at::Tensor FlowObjective::model_time(const at::Tensor& x, double t) const {
  const double time = (reversed_ ? 1 - t : t) * time_scale_;
  return at::full({x.size(0)}, time, x.options().dtype(c10::kFloat));
}

at::Tensor FlowObjective::read_output(const at::Tensor& output, int64_t channels) const {
  return oriented(image_channels(output, channels));
}

int64_t FlowObjective::output_channels(int64_t channels) const {
  return double_output_ ? 2 * channels : channels;
}

template <class Fraction>
at::Tensor FlowObjective::times_at(int64_t count, Fraction fraction) const {
  const TimeInterval path = training_interval(flow_.path(), flow_.prediction());
  const double first = reversed_ ? 1 - path.last : path.first;
  at::Tensor t_B = at::empty({count}, c10::kFloat);
  float* t = t_B.mutable_data_ptr<float>();
  for (int64_t i = 0; i < count; ++i)
    t[i] = static_cast<float>(first + (path.last - path.first) * fraction(i));
  return t_B;
}

at::Tensor FlowObjective::draw_time(int64_t count,
                                    const std::function<double(int64_t)>& uniform) const {
  return times_at(count, [&](int64_t i) {
    return logit_normal_ ? logit_normal_time(normal_quantile(uniform(i))) : uniform(i);
  });
}

at::Tensor FlowObjective::spread_time(int64_t count) const {
  return times_at(count, [&](int64_t i) { return (static_cast<double>(i) + 0.5) / count; });
}

Noised FlowObjective::corrupt(const at::Tensor& clean, const at::Tensor& t_B,
                              const at::Tensor& noise) const {
  const at::Tensor path_t_B = path_time(t_B);
  return {.clean_BCHW = clean,
          .noise_BCHW = noise,
          .t_B = t_B,
          .x_BCHW = flow_.interpolate(clean, noise, path_t_B),
          .model_time_B = t_B.to(c10::kFloat).to(clean.device()) * time_scale_,
          .target_BCHW = oriented(flow_.target(clean, noise, path_t_B))};
}

Losses FlowObjective::loss(const at::Tensor& output, const Noised& n) const {
  const at::Tensor image = oriented(image_channels(output, n.clean_BCHW.size(1)));
  const at::Tensor loss_B =
      flow_.loss(image, n.clean_BCHW, n.noise_BCHW, path_time(n.t_B), weight_);
  return {.main_B = loss_B, .parts = {{"mse", loss_B}}};
}

double FlowObjective::noise_level(double model_time) const {
  const double t = model_time / time_scale_;
  return reversed_ ? t : 1 - t;
}

}  // namespace gallop::diffusion
