#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "gallop/models/model.h"

namespace gallop::models {

/// Tensors under a model's names, and what was done to their own.
struct FittedNames {
  std::map<std::string, at::Tensor> tensors;
  std::vector<std::string> notes;  ///< a line each: "'module.' is taken off 32 names"
};

/// Brings the names of a file to those of a model; where all are the model's own, nothing is done.
/// Names of published releases become ours: those of the release that `names` is (a kind of
/// NameAdapter that the family reads), for "auto" those of every release of the family of which the
/// file has a name, for "own" none. Then a prefix that stands
/// before the model's names ("module.", "_orig_mod.", "model.", any other) is taken off, and so is
/// what torch.compile, FSDP and activation checkpoints put inside of a name. A name that is the
/// model's own stays, and so does a second set of weights under a prefix where the first has none.
/// Throws Error that begins with `what` if several prefixes are equally good, if the family does
/// not read such a release, or if the file has no name of the one that was asked for.
FittedNames fit_names(const Model& model, std::map<std::string, at::Tensor> tensors,
                      const std::string& what, const std::string& names = "auto");

}  // namespace gallop::models
