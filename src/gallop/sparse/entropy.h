#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::sparse {

/// Entropy in nats of softmax(logits) over the last dimension: Shannon's for q = 1, else that of
/// Tsallis, (1 - sum p^q) / (q - 1), which tends to it as q does to 1. Not normalised.
at::Tensor entropy_of(const at::Tensor& logits, double q = 1);

}  // namespace gallop::sparse
