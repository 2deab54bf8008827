#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "gallop/nn/module.h"

namespace gallop::training {

/// A step whose loss, gradient norm or update is not finite, before its gradients are cleared.
struct NonFiniteStep {
  int64_t step = 0;
  const std::map<std::string, double>& values;  ///< losses, "grad_norm", and "lr" of an update
  const std::vector<int64_t>& samples;          ///< numbers of the batch's samples
  std::string gradient;  ///< the first parameter with a non-finite gradient; empty: none has
  std::string update;    ///< the first one that the step would make NaN or infinite; empty: none

  /// "the loss is nan, the gradient norm nan; first non-finite: the gradient of blocks.0.w".
  std::string text() const;
  /// Writes step-00000007.safetensors to the folder: `weight.<name>`, `grad.<name>` and `samples`,
  /// with the values in the metadata; of a gradient of rows, those rows, and which they are as
  /// `grad_rows.<name>`. Throws Error where writing fails.
  void dump(const nn::Module& model, const std::filesystem::path& folder) const;
};

}  // namespace gallop::training
