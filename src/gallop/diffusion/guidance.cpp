#include "gallop/diffusion/guidance.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "gallop/base/error.h"

namespace gallop::diffusion {

void GuidanceSettings::validate() const {
  require(std::abs(scale) <= std::numeric_limits<float>::max(), "the guidance scale is ", scale,
          "; it must be finite in float32");
  require(from <= to, "the guidance interval from = ", from, " to = ", to,
          " is empty; noise levels run from 0 (data) to 1 (pure noise)");
}

at::Tensor combine_guided(const at::Tensor& conditional, const at::Tensor& unconditional,
                          double scale, int64_t channels) {
  const int64_t all = conditional.size(1);
  require(channels >= 0 && channels <= all, "cannot guide ", channels, " of ", all, " channels");
  const at::Tensor cond = conditional.narrow(1, 0, channels);
  const at::Tensor null = unconditional.narrow(1, 0, channels);
  const at::Tensor guided = null + scale * (cond - null);
  if (channels == all) return guided;
  return at::cat({guided, conditional.narrow(1, channels, all - channels)}, 1);
}

Network guided(LabelledNetwork model, std::shared_ptr<const Objective> objective,
               const GuidanceSettings& settings, at::Tensor label_B, at::Tensor null_B) {
  settings.validate();
  require(label_B.sizes() == null_B.sizes() && label_B.dim() == 1,
          "guidance needs as many null labels as labels");
  return [=](const at::Tensor& x, const at::Tensor& t_B) {
    require(x.size(0) == label_B.size(0), "a batch of ", x.size(0), " images with ",
            label_B.size(0), " labels");
    const double level = objective->noise_level(t_B.select(0, 0).item<double>());
    if (!settings.acts_at(level)) return model(x, t_B, label_B);
    const at::Tensor output =
        model(at::cat({x, x}), at::cat({t_B, t_B}), at::cat({label_B, null_B}));
    const int64_t batch = x.size(0), channels = x.size(1);
    return combine_guided(output.narrow(0, 0, batch), output.narrow(0, batch, batch),
                          settings.scale, settings.guided_of(channels));
  };
}

}  // namespace gallop::diffusion
