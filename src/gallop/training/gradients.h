#pragma once

#include <string>
#include <vector>

#include "gallop/nn/module.h"

namespace gallop::training {

/// Euclidean norm of all gradients together, summed in double in the order of the parameters; not
/// finite if any element is not.
double global_norm(const std::vector<nn::Parameter*>& parameters);

/// min(1, clip / (norm + 1e-6)) as torch.nn.utils.clip_grad_norm_; 1 for clip = 0.
double clip_factor(double norm, double clip);

/// Name of the first parameter whose gradient has a NaN or an infinity; empty if none has.
std::string first_non_finite_gradient(const std::vector<nn::Parameter*>& parameters);

void clear_gradients(const std::vector<nn::Parameter*>& parameters);

}  // namespace gallop::training
