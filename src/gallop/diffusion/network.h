#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace gallop::diffusion {

/// The network as a sampler sees it: (x_BCHW, t_B) -> raw output, [B, C or 2C, H, W]. t is what the
/// network was trained on: the index in the full process as int64 for ddpm, a float for flow.
using Network = std::function<at::Tensor(const at::Tensor& x_BCHW, const at::Tensor& t_B)>;

/// Standard normal noise of a sampler step, shaped as x. The caller keys it by sample and step, so
/// that a sample keeps its noise whatever its neighbours in the batch.
using NoiseSource = std::function<at::Tensor(int64_t step)>;

}  // namespace gallop::diffusion
