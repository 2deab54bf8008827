#include "gallop/training/ema.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>

#include "gallop/base/error.h"

namespace gallop::training {

void copy_untrained(const nn::Module& model, nn::Module& average) {
  const auto from = model.parameters();
  const auto to = average.parameters();
  require(from.size() == to.size(), "the moving average has ", to.size(),
          " parameters where the model has ", from.size());
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < from.size(); ++i) {
    if (!from[i]->trainable()) (**to[i]).copy_(**from[i]);
  }
}

void update_ema(const nn::Module& model, nn::Module& average, double decay) {
  copy_untrained(model, average);
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> averages, values;
  const auto from = model.parameters();
  const auto to = average.parameters();
  for (size_t i = 0; i < from.size(); ++i) {
    if (!from[i]->trainable()) continue;
    averages.push_back(**to[i]);
    values.push_back(**from[i]);
  }
  if (!averages.empty()) at::_foreach_lerp_(averages, values, 1 - decay);
}

}  // namespace gallop::training
