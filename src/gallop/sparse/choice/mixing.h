#pragma once

#include <string>
#include <vector>

#include "gallop/nn/module.h"

namespace gallop::sparse {

/// Full names of the selections below `model` by which the samples of a batch change what the
/// others get outside training: a result then depends on the batch it is computed in.
std::vector<std::string> selections_that_mix_samples(const nn::Module& model);

}  // namespace gallop::sparse
