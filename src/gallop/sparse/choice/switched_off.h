#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "gallop/nn/module.h"
#include "gallop/sparse/choice/kept.h"

namespace gallop::sparse {

/// Candidates that are taken from the tokens, by the full name of the layer that chooses among
/// them. Pairs with one are dropped after the choice, so that no other takes its place, and what it
/// would have added is missing.
using SwitchedOff = std::map<std::string, std::vector<int64_t>>;

/// Of "blocks.3.moe:0,5" and the like, "blocks.3.moe" being a layer of the model that chooses.
/// Throws Error that lists these layers for another name, and for a number that is none of its
/// candidates.
SwitchedOff switched_off(const nn::Module& model, const std::vector<std::string>& words);

/// What a forward takes from its rows, so that rows of one batch may be without different
/// candidates.
struct RowsSwitchedOff {
  std::vector<const SwitchedOff*> settings;  ///< null pointer: nothing
  at::Tensor setting_B;  ///< int64, which of them each row has; undefined: all rows the first

  /// The pairs of that layer that are left.
  Kept left(const std::string& layer, const Kept& kept) const;
};

RowsSwitchedOff switched_off_of_rows(const std::vector<const SwitchedOff*>& wanted,
                                     at::Device device);

}  // namespace gallop::sparse
