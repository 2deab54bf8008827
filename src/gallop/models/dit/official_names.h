#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>

namespace gallop::models {

/// Where a tensor of an official release lies here: a tensor of its own, or one expert's part of a
/// stacked one.
struct OurName {
  std::string name;  ///< empty: a constant that the recipe states instead
  std::optional<int64_t> expert;
};

/// For a name of feizc/DiT-MoE (`moe.experts.3.up_proj.weight`) or of KwaiVGI/DiffMoE, whose EC-DiT
/// included (`mlp.experts.3.fc1.weight`), after any prefix such as "blocks.0."; absent for a name
/// that is the same here.
std::optional<OurName> our_name(const std::string& official);

/// Tensors under the names that the models here have, the experts of a layer stacked; what has none
/// of the names above stays as it is. Throws Error where experts are missing or differ in shape.
std::map<std::string, at::Tensor> with_our_names(std::map<std::string, at::Tensor> tensors);

}  // namespace gallop::models
