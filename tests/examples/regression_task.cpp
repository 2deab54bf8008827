#include "tests/examples/regression_task.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "gallop/base/random.h"
#include "gallop/config/registry.h"
#include "tests/examples/largest_error.h"

namespace gallop::examples {
namespace {

// Point i of a split is a function of seed, split and i: no state, no file.
class Points : public tasks::Stream {
 public:
  Points(const PointsSettings& settings, uint64_t seed, tasks::Split split)
      : settings_(settings), seed_(seed), train_(split == tasks::Split::train) {}

  int64_t size() const override { return train_ ? 0 : settings_.held_out; }

  tasks::Batch at(int64_t first, int64_t count) override {
    at::Tensor x_B1 = at::empty({count, 1}, at::TensorOptions(at::kFloat));
    at::Tensor y_B1 = at::empty({count, 1}, at::TensorOptions(at::kFloat));
    tasks::Batch batch{.first = first, .of = size()};
    for (int64_t i = 0; i < count; ++i) {
      const NoiseKey key{.seed = seed_,
                         .purpose = train_ ? "points" : "held-out points",
                         .sample = static_cast<uint64_t>(first + i)};
      const double x = 2 * uniform(key) - 1;
      float noise = 0;
      fill_normal(std::span(&noise, 1), key.with_step(1));
      x_B1.mutable_data_ptr<float>()[i] = static_cast<float>(x);
      y_B1.mutable_data_ptr<float>()[i] =
          static_cast<float>(std::sin(3 * x) + x / 2 + settings_.noise * noise);
      batch.samples.push_back(first + i);
    }
    batch.tensors = {{"x", x_B1}, {"y", y_B1}};
    return batch;
  }

 private:
  PointsSettings settings_;
  uint64_t seed_;
  bool train_;
};

const config::RegisterKind<tasks::Task, Regression, RegressionSettings> registered{
    "regression", "a curve from points", "an example"};

}  // namespace

Curve::Curve(const RegressionSettings& settings)
    : width_(settings.width),
      in_(*this, "in", 1, settings.width),
      mlp_(config::make<nn::FeedForward>(
          settings.mlp, {.parent = this, .D = settings.width, .tokens = 1, .layers = 1})),
      out_(*this, "out", settings.width, 1) {
  nn::require_given(*this, provides(), "the network of the task 'regression'");
}

at::Tensor Curve::forward(const at::Tensor& x_B1, const nn::ForwardContext& ctx) const {
  const at::Tensor h_B1D = in_.forward(x_B1).tanh().unsqueeze(1);
  return out_.forward(h_B1D.add(mlp_->forward(h_B1D, ctx)).squeeze(1));
}

std::string Curve::summary() const { return "curve of width " + std::to_string(width_); }

Json Regression::description(tasks::Split split) const {
  Json json = Json::object();
  json["curve"] = "sin(3 x) + x / 2";
  json["noise"] = settings_.data.noise;
  if (split == tasks::Split::held_out) json["count"] = settings_.data.held_out;
  return json;
}

std::unique_ptr<models::Model> Regression::make_model() const {
  return std::make_unique<Curve>(settings_);
}

std::unique_ptr<tasks::Stream> Regression::stream(tasks::Split split) const {
  return std::make_unique<Points>(settings_.data, args().seed, split);
}

tasks::Outcome Regression::run(const models::Model& model, const tasks::Batch& batch,
                               const tasks::Pass&, const tasks::Forward& forward) const {
  const at::Device device = (*model.parameters().at(0))->device();
  const sparse::RowThresholds thresholds{{forward.thresholds}, {}};
  tasks::Outcome outcome;
  const at::Tensor y_B1 = dynamic_cast<const Curve&>(model).forward(
      batch.at("x").to(device), {.training = forward.training,
                                 .micro_batches = forward.micro_batches,
                                 .noise = {.seed = args().seed,
                                           .purpose = "routing",
                                           .sample = static_cast<uint64_t>(batch.first)},
                                 .thresholds = &thresholds,
                                 .routing = &outcome.routing});
  const at::Tensor loss_B = y_B1.sub(batch.at("y").to(device)).square().squeeze(1);
  outcome.of_samples_B = {{"squared_error", loss_B.detach()}};
  outcome.extras = {{"predicted", y_B1.detach()}};
  if (forward.purpose != tasks::Purpose::train) return outcome;
  outcome.losses.push_back({.name = "squared_error", .value = loss_B.mean()});
  tasks::add_routing_losses(outcome, forward, {});
  return outcome;
}

std::vector<std::unique_ptr<tasks::Meter>> Regression::meters(const models::Model& model) const {
  auto meters = Task::meters(model);
  meters.push_back(std::make_unique<LargestError>());
  return meters;
}

}  // namespace gallop::examples
