#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::sparse {

/// Over the experts A that got tokens: mean of -log softmax_j(cos(prototype_i, mean token of j) /
/// temperature)_i; 0 for fewer than two (routing contrastive loss of ProMoE, arXiv 2510.24711).
at::Tensor contrastive(const at::Tensor& prototypes_ED, const at::Tensor& x_TD,
                       const at::Tensor& mask_TE, double temperature);

}  // namespace gallop::sparse
