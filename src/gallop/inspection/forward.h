#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gallop/base/file.h"
#include "gallop/models/denoiser.h"

namespace gallop::inspection {

/// One forward as files describe it: how a port of a published model is checked.
struct ForwardCase {
  std::map<std::string, at::Tensor> weights;  ///< by parameter name
  /// `x` [B, C, H, W], `t` [B], `y` [B]; for a loss `target` [B, C, H, W] or `cotangent`, shaped as
  /// the output.
  std::map<std::string, at::Tensor> inputs;
  /// What should come out: `out.*` without the prefix, and `grad.*` with it.
  std::map<std::string, at::Tensor> expected;
  std::optional<double> rtol, atol;  ///< from the metadata of the file of the inputs
};

/// Reads safetensors. Weights carry the prefix `weight.`, inputs `in.`, or neither: then all
/// tensors of the file are weights, and all but `out.*` and `grad.*` are inputs. Both may be the
/// same file.
ForwardCase read_forward_case(const fs::path& weights, const fs::path& inputs);

struct ForwardOptions {
  bool training = false;   ///< route as training does, with the sparse losses
  bool gradients = false;  ///< of the loss
  bool blocks = false;     ///< what flows inside, too
};

/// Loads the weights (strictly) into the materialised model and runs it on the inputs, labels as
/// given. Named results in this order:
///
/// - `output`
/// - `block.<i>` after each block, and the model's other taps, if `blocks`
/// - `routing.<i>.{logits,mask,threshold}` of sparse layer i; in training the threshold is the one
///   after the update of a first step
/// - `loss`, if there is a target or a cotangent, and its parts `loss.<name>` without their
/// weights:
///   with a target `main`, the mean squared error of the image channels, and in training the sparse
///   losses of the recipe; with a cotangent the sum of output * cotangent alone
/// - `grad.<input or trainable parameter>`, if `gradients`; zeros where nothing arrived
///
/// Throws Error for inputs that are missing, unknown or misshapen.
std::vector<std::pair<std::string, at::Tensor>> run_forward(models::Denoiser& model,
                                                            const ForwardCase& forward_case,
                                                            const ForwardOptions& options);

}  // namespace gallop::inspection
