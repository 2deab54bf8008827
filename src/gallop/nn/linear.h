#pragma once

#include <optional>

#include "gallop/nn/module.h"

namespace gallop::nn {

struct LinearOptions {
  bool bias = true;
  std::optional<Init> weight_init;  ///< Xavier-uniform by default
  Attributes attributes;            ///< of both tensors; the bias never decays
};

/// y = x W^T + b, x [..., in] -> [..., out]; parameters `weight` [out, in] and `bias` [out] (zero).
class Linear : public Module {
 public:
  Linear(Module& parent, std::string name, int64_t in, int64_t out,
         const LinearOptions& options = {});
  at::Tensor forward(const at::Tensor& x) const;
  /// gelu_tanh(forward(x)), in one operator.
  at::Tensor forward_gelu(const at::Tensor& x) const;
  const Parameter& weight() const { return weight_; }

 private:
  Parameter weight_;
  std::optional<Parameter> bias_;
};

/// The same attributes for a bias, whatever its shape: no weight decay, no matrix.
Attributes of_bias(Attributes attributes);

}  // namespace gallop::nn
