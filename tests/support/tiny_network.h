#pragma once

#include <ATen/core/Tensor.h>

#include "gallop/diffusion/guidance.h"
#include "gallop/diffusion/network.h"
#include "tests/support/fixture.h"

namespace gallop::testing {

/// The network of the sampler fixtures, applied at every pixel: h = tanh(A x + omega (t time_scale)
/// + E[y]), output = B h + bias. Where the file has c_skip and c_out, the first channels o become
/// c_skip[t] x + c_out[t] o. Parameters are `weight.*`, time_scale is in the config.
class TinyNetwork {
 public:
  /// Parameters in the type of the samples that it will see.
  explicit TinyNetwork(const Fixture& fixture, at::ScalarType dtype = at::kFloat);

  at::Tensor operator()(const at::Tensor& x_BCHW, const at::Tensor& t_B,
                        const at::Tensor& label_B) const;
  /// With the labels fixed.
  diffusion::Network with_labels(const at::Tensor& label_B) const;

 private:
  at::Tensor A_, B_, omega_, E_, bias_, c_skip_, c_out_;
  double time_scale_;
};

}  // namespace gallop::testing
