#include "gallop/training/ema.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>

#include "gallop/base/error.h"

namespace gallop::training {

void update_ema(const nn::Module& model, nn::Module& average, double decay) {
  const auto from = model.parameters(), to = average.parameters();
  require(from.size() == to.size(), "the moving average has ", to.size(),
          " parameters where the model has ", from.size());
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> averages, values;
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i]->trainable()) {
      averages.push_back(**to[i]);
      values.push_back(**from[i]);
    } else {
      (**to[i]).copy_(**from[i]);
    }
  }
  if (!averages.empty()) at::_foreach_lerp_(averages, values, 1 - decay);
}

}  // namespace gallop::training
