#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "gallop/nn/module.h"

/// The gradients of a step, which lie at the parameters' tensors (`grad()`): a dense one, or the
/// rows that lookups touched (nn::Gradient), a sparse COO tensor to which every lookup adds its
/// own. What is asked here is asked of both alike.
namespace gallop::training {

/// After the last backward pass of a step and before its gradients are used: adds up what lookups
/// left of one row, in the order in which they left it, so that no bit depends on the threads.
/// Throws Error for a dense gradient of a parameter that says it has rows.
void coalesce_gradients(const std::vector<nn::Parameter*>& parameters);

/// Rows of a table, ascending, each once, and the gradient of each.
struct RowGradient {
  at::Tensor rows_U;     ///< int64; undefined: nothing was looked up
  at::Tensor values_UD;  ///< [U, ...]
};
/// That of a parameter with nn::Gradient::rows. Throws Error where it is dense.
RowGradient row_gradient(const nn::Parameter& parameter);
/// That of a parameter with nn::Gradient::dense; undefined: it has none.
at::Tensor dense_gradient(const nn::Parameter& parameter);

/// Euclidean norm of all gradients together, summed in double in the order of the parameters; not
/// finite if any element is not.
double global_norm(const std::vector<nn::Parameter*>& parameters);

/// min(1, clip / (norm + 1e-6)) as torch.nn.utils.clip_grad_norm_; 1 for clip = 0.
double clip_factor(double norm, double clip);

/// Name of the first parameter whose gradient has a NaN or an infinity; empty if none has.
std::string first_non_finite_gradient(const std::vector<nn::Parameter*>& parameters);

void clear_gradients(const std::vector<nn::Parameter*>& parameters);

}  // namespace gallop::training
