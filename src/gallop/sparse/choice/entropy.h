#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::sparse {

/// Entropy in nats of softmax(logits) over the last dimension (Shannon's): ln E when undecided.
at::Tensor entropy_of(const at::Tensor& logits);

/// Entropy of p = softmax(logits) as a share of its maximum over E experts: that of Tsallis,
/// (1 - sum (p + eps)^q) / (q - 1) divided by (1 - E^(1-q)) / (q - 1), and Shannon's by ln E for
/// q = 1. With eps > 0 it lies a little below 0 for one certain expert and a little below 1 for
/// equal ones. 0 for a single expert, which leaves nothing to decide (DynMoLE, arXiv 2504.00661, by
/// its code).
at::Tensor normalised_entropy(const at::Tensor& logits, double q, double eps);

/// What the published code adds to each probability.
constexpr double entropy_eps = 1e-5;

}  // namespace gallop::sparse
