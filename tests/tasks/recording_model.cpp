#include "tests/tasks/recording_model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>

namespace gallop::testing {

at::Tensor RecordingLoss::value(const sparse::RoutingRecord&, const at::Tensor& target_BLH) const {
  targets.push_back(target_BLH);
  return at::full({}, value_, at::kFloat);
}

RecordingModel::RecordingModel(const Args& args, double label_dropout, double scale)
    : args_(args),
      label_dropout_(label_dropout),
      scale_(*this, "scale", {}, nn::Init::constant(scale)) {
  materialize(0);
}

at::Tensor RecordingModel::forward(const at::Tensor& x, const nn::ForwardContext& ctx) const {
  calls.push_back({.x_BCHW = x,
                   .timestep_B = ctx.timestep_B,
                   .label_B = ctx.label_B,
                   .training = ctx.training,
                   .gradients = at::GradMode::is_enabled()});
  for (size_t i = 0; i < layer_losses.size() && ctx.routing != nullptr; ++i) {
    const at::Tensor mask = at::ones({x.size(0), tokens(), 1}, at::kBool);
    ctx.routing->push_back({.layer = "layer." + std::to_string(i),
                            .active = 1,
                            .kept = sparse::keep(sparse::Pairs::of_mask(mask), mask.to(at::kFloat)),
                            .losses = &layer_losses[i]});
  }
  const at::Tensor y = scale_->mul(x);
  return ctx.label_B.defined() ? y.add(ctx.label_B.to(x.scalar_type()).view({-1, 1, 1, 1})) : y;
}

at::Tensor RecordingModel::to_tokens(const at::Tensor& image_BCHW) const {
  return image_BCHW.transpose(1, 2).flatten(2);
}

}  // namespace gallop::testing
