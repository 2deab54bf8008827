#pragma once

#include <cstdint>
#include <string>

#include "gallop/nn/module.h"

namespace gallop::nn {

/// A table `weight` [N, D] of rows that are looked up, of which a step uses some: its gradient
/// holds those rows (Gradient::rows), and optimizer and moving average touch no others, so that a
/// step costs what its lookups cost, however many rows there are.
class RowTable : public Module {
 public:
  struct Options {
    Init init = Init::normal(0.02);
    double lookups = 1;       ///< that an average token, or sample, makes
    bool per_sample = false;  ///< looked up once a sample instead of once a token
    bool decay = false;       ///< weight decay of a row, in the steps that touch it only
    double lr_scale = 1;      ///< factor on the learning rate
  };
  RowTable(Module& parent, std::string name, int64_t rows, int64_t D);
  RowTable(Module& parent, std::string name, int64_t rows, int64_t D, const Options& options);

  /// index [..] int64 -> [.., D]; throws Error with row and bound when one is out of range. The
  /// gradients of all lookups of a step add up.
  at::Tensor lookup(const at::Tensor& index) const;

  const Parameter& weight() const { return weight_; }
  int64_t rows() const { return weight_.shape()[0]; }
  Activations activations(double tokens) const override;

 private:
  double lookups_;
  Parameter weight_;
};

}  // namespace gallop::nn
