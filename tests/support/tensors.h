#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace gallop::testing {

/// A vector of float32.
at::Tensor tensor_of(const std::vector<float>& values);

/// Standard normal numbers, float32; the same for the same name, another stream for another.
at::Tensor random_normal(at::IntArrayRef shape, const std::string& name);

}  // namespace gallop::testing
