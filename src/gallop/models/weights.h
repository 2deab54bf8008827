#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "gallop/formats/safetensors.h"
#include "gallop/models/model.h"

namespace gallop::models {

/// How a set of named tensors fits a model.
struct WeightsReport {
  struct Reshaped {
    std::string name;
    std::vector<int64_t> expected, found;
  };
  std::vector<std::string> missing;     ///< the model has it, the file does not
  std::vector<std::string> unexpected;  ///< the file has it, the model does not
  std::vector<Reshaped> reshaped;       ///< both have it, shapes differ
  bool exact() const { return missing.empty() && unexpected.empty() && reshaped.empty(); }
  /// All of them, a line each, with expected and found shapes.
  std::string text() const;
};

/// What fits and what does not; nothing is changed.
WeightsReport compare(const Model& model, const std::map<std::string, at::Tensor>& tensors);

/// Copies the tensors into a materialised model, converting the type. Strict: throws Error that
/// lists missing, unexpected and misshapen tensors with expected and found (`what` names the file).
/// A missing position table (frozen parameter) is not an error, since it is computed. Each tensor
/// is let go as soon as it is copied.
void load_weights(Model& model, std::map<std::string, at::Tensor> tensors, const std::string& what);

/// All parameters and buffers by name, detached, in order of declaration.
std::vector<std::pair<std::string, at::Tensor>> named_tensors(const nn::Module& model);

}  // namespace gallop::models
