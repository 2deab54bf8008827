#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace gallop::runs {

/// How many elements are NaN or infinite.
int64_t non_finite_elements(const at::Tensor& x);

/// The tensors with elements that are NaN or infinite, each as "blocks.0.w (3 of 64)". A NaN in a
/// buffer `threshold` is none: it says that no step has set it yet.
std::vector<std::string> non_finite_tensors(
    const std::vector<std::pair<std::string, at::Tensor>>& tensors);

}  // namespace gallop::runs
