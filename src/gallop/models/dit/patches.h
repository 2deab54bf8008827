#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::models {

/// [B, C, H, W] -> [B, L, p*p*C]: tokens row-major, a token laid out (row, column, channel),
/// channel fastest (DiT's output layout).
at::Tensor patchify(const at::Tensor& image_BCHW, int64_t patch);
/// The inverse of patchify for an image of height x width.
at::Tensor unpatchify(const at::Tensor& tokens_BLF, int64_t patch, int64_t height, int64_t width);

}  // namespace gallop::models
