#pragma once

#include <string>

#include "gallop/nn/forward_context.h"

namespace gallop::sparse {

/// Random numbers in the shape and type of `like` [B, ...]: those of row b depend on ctx.noise,
/// `stream` and b alone, not on the rest of the batch. `stream` names who draws and what for: parts
/// of one layer may share a name (a selection has its router's), and two draws under one stream are
/// made of the same random words.
at::Tensor normal_noise(const nn::ForwardContext& ctx, const std::string& stream,
                        const at::Tensor& like);
/// Uniform in [0, 1).
at::Tensor uniform_noise(const nn::ForwardContext& ctx, const std::string& stream,
                         const at::Tensor& like);

}  // namespace gallop::sparse
