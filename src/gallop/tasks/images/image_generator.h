#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/diffusion/objective.h"
#include "gallop/ops/precision.h"
#include "gallop/tasks/generator.h"
#include "gallop/tasks/images/image_data.h"
#include "gallop/tasks/images/settings.h"

namespace gallop::tasks {

/// Draws images, or latents, of classes. The settings are SampleSettings, the condition of a
/// request is the number of a class, that of the null label (= classes) draws without one; an
/// unconditional model ignores it. Images are clamped to [-1, 1], latents are not.
class ImageGenerator : public Generator {
 public:
  ImageGenerator(const SampleSettings& settings,
                 std::shared_ptr<const diffusion::Objective> objective,
                 std::shared_ptr<const ImageData> data, uint64_t seed, ops::Precision precision)
      : settings_(settings),
        objective_(std::move(objective)),
        data_(std::move(data)),
        seed_(seed),
        precision_(precision) {}

  std::unique_ptr<config::Struct> settings() const override { return settings_.clone(); }
  Plan plan(const models::Model& model, const config::Struct& settings) const override;
  /// A row for each class, ten at most, or for each of the recipe's labels.
  Plan sheet(const models::Model& model) const override;
  std::unique_ptr<Session> begin(const models::Model& model, const std::vector<Request>& requests,
                                 int64_t rows) const override;
  std::string not_shown() const override;
  formats::Artifact show(const Plan& plan, const std::vector<Made>& made) const override;
  std::pair<std::string, formats::Artifact> show_one(const Request& request,
                                                     const Made& made) const override;
  /// "samples" [N, C, H, W], and "labels" [N] where the model has classes.
  std::vector<std::pair<std::string, at::Tensor>> tensors(
      const Plan& plan, const std::vector<Made>& made) const override;
  std::vector<std::pair<std::string, std::string>> how(const Plan& plan) const override;

 private:
  Plan plan_of(const models::Model& model, const SampleSettings& settings,
               const std::vector<int64_t>& labels) const;

  SampleSettings settings_;
  std::shared_ptr<const diffusion::Objective> objective_;
  std::shared_ptr<const ImageData> data_;
  uint64_t seed_;
  ops::Precision precision_;
};

/// All classes, or ten of them spread evenly where there are more; label 0 alone without classes.
std::vector<int64_t> shown_classes(int64_t classes);

}  // namespace gallop::tasks
