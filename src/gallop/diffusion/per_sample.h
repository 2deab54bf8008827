#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace gallop::diffusion {

/// One number a sample, computed in double, as a tensor that broadcasts against `like_BCHW` ([B, 1,
/// 1, 1], of its type and device).
at::Tensor per_sample(const std::vector<double>& values_B, const at::Tensor& like_BCHW);
/// The same as a vector [B].
at::Tensor per_sample_vector(const std::vector<double>& values_B, const at::Tensor& like);

/// The elements of a time tensor [B] of any number type. Throws Error unless it has one dimension.
std::vector<double> times(const at::Tensor& t_B);
/// The same as step indices, each checked to lie in [0, steps).
std::vector<int64_t> step_indices(const at::Tensor& t_B, int64_t steps);

/// Mean over all dimensions but the first: [B, ...] -> [B].
at::Tensor mean_per_sample(const at::Tensor& x);

}  // namespace gallop::diffusion
