#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gallop/tasks/images/image_session.h"

namespace gallop::testing {

/// Images of these labels by a session of its own.
struct Drawing {
  tasks::SampleSettings settings;
  std::vector<int64_t> labels;
  uint64_t seed = 11;
  int64_t first = 0, rows = 64;

  Drawing(const std::string& sampler, std::vector<int64_t> of, int64_t steps = 4)
      : labels(std::move(of)) {
    settings.sampler = config::Component("sampler", sampler);
    settings.steps = steps;
    settings.guidance = 1;
  }
  std::vector<tasks::Request> requests() const {
    const auto shared = std::make_shared<const tasks::SampleSettings>(settings);
    std::vector<tasks::Request> requests;
    for (size_t i = 0; i < labels.size(); ++i) {
      tasks::Request& request = requests.emplace_back();
      request.seed = seed;
      request.index = first + static_cast<int64_t>(i);
      request.condition = labels[i];
      request.settings = shared;
    }
    return requests;
  }
};

/// All that a session still has to make, in the order of the requests.
inline at::Tensor take_all(tasks::Session& session) {
  std::vector<tasks::Made> all;
  while (!session.done()) {
    session.advance();
    for (tasks::Made& made : session.take()) all.push_back(std::move(made));
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.request < b.request; });
  std::vector<at::Tensor> samples;
  for (const tasks::Made& made : all) samples.push_back(made.tensors.at("samples"));
  return samples.empty() ? at::empty({0}) : at::stack(samples);
}

inline at::Tensor draw(const models::Denoiser& model,
                       const std::shared_ptr<const diffusion::Objective>& objective,
                       const Drawing& drawing) {
  tasks::ImageSession session(
      {.model = model, .objective = objective, .rows = drawing.rows, .clamped = false});
  session.add(drawing.requests());
  return take_all(session);
}

}  // namespace gallop::testing
