#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "gallop/nn/module.h"
#include "gallop/ops/adamw_rows.h"
#include "gallop/training/gradients.h"

namespace gallop::training {

/// What AdamW remembers of a table whose gradient holds rows, and its steps (ops/adamw_rows.h). The
/// clock of averages is that of the optimizer, one for all tables.
class AdamWTable {
 public:
  explicit AdamWTable(const nn::Parameter& table);

  const nn::Parameter& parameter() const { return *parameter_; }
  /// Whether the step would leave a number that is not finite; changes nothing. It reads the rows
  /// for it only where arithmetic alone cannot tell, and the table only where nothing is known of
  /// it: in the first step, and after forget_bounds.
  bool refuses(const RowGradient& gradient, const ops::AdamWStep& step, double norm, double clock);
  /// `averaged`: its average moves with the step. Throws Error, with the step taken, if it left a
  /// number that is not finite, which only another writer can bring about.
  void step(const RowGradient& gradient, const ops::AdamWStep& step, double norm, double clock,
            bool averaged);
  /// Something else may have written to the table.
  void forget_bounds() { bounds_ = ops::AdamWBounds(); }
  void write_average(double clock, const at::Tensor& average) const;
  /// By name, sharing memory: moments, and gap and clock of the average.
  std::vector<std::pair<std::string, at::Tensor>> state() const;

 private:
  ops::AdamWRows rows_of(const RowGradient& gradient, bool averaged) const;

  const nn::Parameter* parameter_;
  at::Tensor mean_, square_, gap_, clock_;
  ops::AdamWBounds bounds_;  // of all rows
};

}  // namespace gallop::training
