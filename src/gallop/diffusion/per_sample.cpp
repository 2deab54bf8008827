#include "gallop/diffusion/per_sample.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "gallop/base/error.h"

namespace gallop::diffusion {

at::Tensor per_sample_vector(const std::vector<double>& values_B, const at::Tensor& like) {
  at::Tensor values = at::empty({static_cast<int64_t>(values_B.size())}, c10::kDouble);
  std::copy(values_B.begin(), values_B.end(), values.mutable_data_ptr<double>());
  return values.to(like.options());
}

at::Tensor per_sample(const std::vector<double>& values_B, const at::Tensor& like_BCHW) {
  std::vector<int64_t> shape(std::max<int64_t>(like_BCHW.dim(), 1), 1);
  shape[0] = static_cast<int64_t>(values_B.size());
  return per_sample_vector(values_B, like_BCHW).view(shape);
}

std::vector<double> times(const at::Tensor& t_B) {
  require(t_B.defined() && t_B.dim() == 1,
          "the time must be one number a sample [B], not a tensor of ",
          t_B.defined() ? t_B.dim() : 0, " dimensions");
  const at::Tensor values = t_B.detach().to(c10::kCPU).to(c10::kDouble).contiguous();
  const double* first = values.const_data_ptr<double>();
  return {first, first + values.numel()};
}

std::vector<int64_t> step_indices(const at::Tensor& t_B, int64_t steps) {
  std::vector<int64_t> indices;
  for (double t : times(t_B)) {
    require(t >= 0 && t < steps && t == std::floor(t), "timestep ", t,
            " is not one of the indices 0..", steps - 1, " of the diffusion process");
    indices.push_back(static_cast<int64_t>(t));
  }
  return indices;
}

at::Tensor mean_per_sample(const at::Tensor& x) { return x.flatten(1).mean(1); }

}  // namespace gallop::diffusion
