#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gallop/nn/feed_forward.h"
#include "gallop/nn/linear.h"
#include "gallop/tasks/task.h"

namespace gallop::examples {

/// Points of y = sin(3 x) + x / 2 + noise, x in [-1, 1]: a kind of data that is made, not read.
struct PointsSettings : config::Fields<PointsSettings> {
  double noise = 0.05;
  int64_t held_out = 64;
  void fields(config::Visitor& v) override {
    v.field("noise", noise, "standard deviation of y", config::at_least(0));
    v.field("held_out", held_out, "points that a run is judged by", config::at_least(1));
  }
};

/// [task] of kind "regression".
struct RegressionSettings : config::Fields<RegressionSettings> {
  PointsSettings data;
  int64_t width = 16;
  config::Component mlp{"mlp", "dense"};
  void fields(config::Visitor& v) override {
    v.table("data", data, "the points");
    v.field("width", width, "of the network", config::at_least(1));
    v.component("mlp", mlp, "the middle of the network");
  }
};

/// x [B, 1] -> y [B, 1] through a feed-forward layer of any kind; a sample is one token.
class Curve : public models::Model {
 public:
  explicit Curve(const RegressionSettings& settings);
  at::Tensor forward(const at::Tensor& x_B1, const nn::ForwardContext& ctx) const;

  int64_t tokens() const override { return 1; }
  std::string summary() const override;

 private:
  int64_t width_;
  nn::Linear in_;
  std::unique_ptr<nn::FeedForward> mlp_;
  nn::Linear out_;
};

/// Learns the curve by its squared error. It generates nothing.
class Regression : public tasks::Task {
 public:
  Regression(const RegressionSettings& settings, const Args& args)
      : Task(args), settings_(settings) {}

  std::string unit() const override { return "point"; }
  Json description(tasks::Split split) const override;
  std::string data_text() const override { return "points of a curve, made as they are needed"; }
  tasks::TaskMemory memory() const override { return {.evaluated = args().batch}; }
  std::unique_ptr<models::Model> make_model() const override;
  std::unique_ptr<tasks::Stream> stream(tasks::Split split) const override;
  tasks::Outcome run(const models::Model& model, const tasks::Batch& batch, const tasks::Pass& pass,
                     const tasks::Forward& forward) const override;
  std::vector<std::unique_ptr<tasks::Meter>> meters(const models::Model& model) const override;

 private:
  RegressionSettings settings_;
};

}  // namespace gallop::examples
