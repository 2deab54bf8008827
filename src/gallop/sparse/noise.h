#pragma once

#include <string>

#include "gallop/nn/forward_context.h"

namespace gallop::sparse {

/// Random numbers in the shape and type of `like` [B, ...] for a layer: those of row b depend on
/// ctx.noise, the layer's name and b alone, not on the rest of the batch.
at::Tensor normal_noise(const nn::ForwardContext& ctx, const std::string& layer,
                        const at::Tensor& like);
/// Uniform in [0, 1).
at::Tensor uniform_noise(const nn::ForwardContext& ctx, const std::string& layer,
                         const at::Tensor& like);

}  // namespace gallop::sparse
