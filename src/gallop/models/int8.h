#pragma once

#include <vector>

#include "gallop/models/model.h"

namespace gallop::models {

/// Inner sizes below this gain nothing from 8 bits: bringing the row to 8 bits costs as much.
constexpr int64_t least_int8_width = 64;

/// The matrices of a model, declared or materialised, that may be in 8 bits at inference: those of
/// the blocks that every token goes through. Not among them: what chooses (routers and the weights
/// of heads, whose scores decide), what runs once a sample, what only training uses, and the first
/// and the last layer.
std::vector<const nn::Parameter*> int8_candidates(const Model& model);

}  // namespace gallop::models
