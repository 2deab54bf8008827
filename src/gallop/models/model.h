#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gallop/nn/module.h"

namespace gallop::models {

/// Numbers of one sample that a model holds beside its weights.
struct Footprint {
  double kept = 0;       ///< in training, by all parts for the backward pass
  double passing = 0;    ///< beside those, while the largest part runs backward
  double inference = 0;  ///< the most at once in a forward without gradients
  double recorded = 0;   ///< beside those, by the routing that was asked for
};

/// The table with a row for each class of the data, and perhaps one more for "no class" at its end.
struct ClassTable {
  const nn::Parameter* table = nullptr;
  int64_t classes = 0;
  bool null_row = false;
};

/// The root of a network, whatever it learns: what counting, weights files and checkpoints know of
/// it. What goes in and comes out is the affair of its family (models/denoiser.h).
class Model : public nn::Module {
 public:
  /// Tokens a sample (L), for counting work.
  virtual int64_t tokens() const = 0;
  /// What it gives its parts in every forward (nn::require_given).
  virtual std::vector<nn::Given> provides() const { return {}; }
  /// The parts that a sample goes through one after the other.
  virtual std::vector<const nn::Module*> stacked() const { return {}; }
  /// What a sample takes outside of them: input, output, and what flows from one to the next. An
  /// estimate.
  virtual Footprint around_stack() const { return {}; }
  /// Whether `table` is what this computed parameter holds in a model of other sizes, of another
  /// resolution for example; false where that cannot be told. Exact up to the rounding of bf16.
  virtual bool is_table_of_other_sizes(const nn::Parameter& /*parameter*/,
                                       const at::Tensor& /*table*/) const {
    return false;
  }
  /// The releases of this family whose names are known: kinds of NameAdapter.
  virtual std::vector<std::string> adapters() const { return {}; }
  /// Empty where labels have no such table.
  virtual std::optional<ClassTable> class_table() const { return {}; }
  /// One line: sizes as a person would say them.
  virtual std::string summary() const = 0;
};

}  // namespace gallop::models
