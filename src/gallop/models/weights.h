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
    std::string likely = {};  ///< what is likely behind it, if that is known
  };
  std::vector<std::string> missing;     ///< the model has it, the file does not
  std::vector<std::string> unexpected;  ///< the file has it, the model does not
  std::vector<Reshaped> reshaped;       ///< both have it, shapes differ
  /// Tables that follow from sizes alone (positions), and that the file holds for other ones: the
  /// model's own stay, whatever the file says.
  std::vector<Reshaped> recomputed;
  /// Tensors of the model, tables not counted, that the file has under the same name in a shape
  /// that can be used: the same, or rows of a class table.
  int64_t matching = 0;
  bool exact() const { return missing.empty() && unexpected.empty() && reshaped.empty(); }
  /// The differences, a line each, with expected and found shapes and the nearest names.
  std::string text() const;
  /// "pos_embed is computed anew for these sizes: [1, 64, 8], the file has [1, 16, 8]", ...
  std::vector<std::string> recomputed_lines() const;
  bool is_recomputed(const std::string& name) const;
};

/// Whether a parameter follows from the sizes of its model alone, so that a file need not hold it.
bool is_computed_table(const nn::Parameter& parameter);

/// What fits and what does not; nothing is changed.
WeightsReport compare(const Model& model, const std::map<std::string, at::Tensor>& tensors);

/// What to say where no name fits: some names of both sides, and which of them are nearest.
/// `tensors` are those of a file.
std::string names_of_both(const Model& model, const std::map<std::string, at::Tensor>& tensors);

/// Copies the tensors into a materialised model, converting the type. Strict: throws Error that
/// lists missing, unexpected and misshapen tensors with expected and found (`what` names the file).
/// Names are fitted (fit_names) and position tables of other sizes computed anew, which is logged;
/// a missing one is not an error. Each tensor is let go as soon as it is copied.
void load_weights(Model& model, std::map<std::string, at::Tensor> tensors, const std::string& what);

/// All parameters and buffers by name, detached, in order of declaration.
std::vector<std::pair<std::string, at::Tensor>> named_tensors(const nn::Module& model);

}  // namespace gallop::models
