#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "gallop/models/model.h"
#include "gallop/ops/inference/int8.h"
#include "gallop/tasks/generator.h"
#include "gallop/tasks/task.h"

namespace gallop::compute {

/// Samples that are drawn both ways.
constexpr int64_t int8_check_draws = 4;

/// The model's candidates (models/int8.h) in 8 bits. Throws Error for a model without any and for
/// one that is not in float32 on the CPU.
ops::Int8Weights make_int8_weights(const models::Model& model);

/// What weights in 8 bits change, against float32 on the same inputs.
struct Int8Check {
  int64_t held_out = 0;     ///< samples of the held-out loss; 0: there is none
  std::string no_held_out;  ///< then the reason
  double loss_float = 0, loss_int8 = 0;
  int64_t drawn = 0;
  double change = 0;  ///< RMS of the difference of these samples, over the RMS of them
  double seconds_float = 0, seconds_int8 = 0;  ///< of drawing them
};

/// Measures the held-out loss, if the data can be opened, and makes the first int8_check_draws
/// things of the plan both ways. `progress` is called with what is done of all and may throw to
/// stop.
Int8Check check_int8(const tasks::Task& task, const models::Model& model,
                     const ops::Int8Weights& weights, tasks::Plan plan,
                     const std::function<void(int64_t done, int64_t total)>& progress = {});

/// The share of the model's weights that have been used in 8 bits so far, and their memory: a line.
std::string describe(const ops::Int8Weights& weights, const models::Model& model);
/// Two lines.
std::string describe(const Int8Check& check);

}  // namespace gallop::compute
