#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

namespace gallop::testing {

/// The stream "two_lanes", registered in two_lanes.cpp: about the smallest one whose state is not
/// what a sublayer sees. State [B, L, 2, D]; lanes a and b begin as x and x / 2; a sublayer sees
/// 3/4 a + 1/4 b; then a <- a + b / 2 + branch, b <- b - a / 4; at the end a + b.
///
/// The same with a and b as tensors of their own, for expectations.
struct Lanes {
  at::Tensor a, b;
  static Lanes of(const at::Tensor& state) { return {state.select(2, 0), state.select(2, 1)}; }
  at::Tensor seen() const { return a * 0.75 + b * 0.25; }
  Lanes written(const at::Tensor& branch) const { return {a + b * 0.5 + branch, b - a * 0.25}; }
};

}  // namespace gallop::testing
