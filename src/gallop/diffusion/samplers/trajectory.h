#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "gallop/diffusion/network.h"

namespace gallop::diffusion {

/// What a trajectory asks the network: its output for images at a time, as the network is told it.
struct Query {
  at::Tensor x_BCHW, t_B;
};

/// The state after a step; `x0_BCHW` is the estimate of the clean images made in it, undefined for
/// samplers that make none.
struct StepState {
  int64_t step, steps;
  at::Tensor x_BCHW, x0_BCHW;
};
using StepCallback = std::function<void(const StepState&)>;

/// The way of a batch from noise to images, advanced one network call at a time. It owns its whole
/// state, so that any number of them may be under way, and their queries may share a forward.
class Trajectory {
 public:
  Trajectory(at::Tensor x_BCHW, int64_t steps) : state_{-1, steps, std::move(x_BCHW), {}} {}
  Trajectory(const Trajectory&) = delete;
  Trajectory& operator=(const Trajectory&) = delete;
  virtual ~Trajectory() = default;

  bool done() const { return step() >= state_.steps; }
  /// The next one; there is none where the trajectory is done. The same until it is answered.
  const Query& query();
  /// Goes on with what the network put out for the query. True where that ended a step.
  bool answer(const at::Tensor& output);
  /// After the last step that ended; before the first one `step` is -1 and x the start.
  const StepState& state() const { return state_; }

 protected:
  virtual Query ask() = 0;
  /// Where the output ends the step: the state after it.
  struct Ended {
    at::Tensor x_BCHW, x0_BCHW;
  };
  virtual std::optional<Ended> take(const Query& query, const at::Tensor& output) = 0;

  /// The number of the step that is under way.
  int64_t step() const { return state_.step + 1; }
  int64_t steps() const { return state_.steps; }
  /// What the step began with.
  const at::Tensor& x() const { return state_.x_BCHW; }

 private:
  StepState state_;
  std::optional<Query> query_;
};

}  // namespace gallop::diffusion
