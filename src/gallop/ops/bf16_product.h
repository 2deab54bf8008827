#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// gate * (x W^T) in plain ATen with the arithmetic of products in bf16: x and weight are rounded,
/// for the gradients so are the arriving one (without the gate) and gate * x. x [..., K], weight
/// [N, K], gate [...] or undefined: 1. Any type and device. A gradient with a graph of its own
/// (create_graph) takes the arriving one as it is.
at::Tensor bf16_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& gate = {});

}  // namespace gallop::ops
