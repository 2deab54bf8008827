#include "gallop/nn/linear.h"

#include "gallop/ops/linear.h"

namespace gallop::nn {

Attributes of_bias(Attributes attributes) {
  attributes.decay = false;
  attributes.role = Role::other;
  return attributes;
}

Linear::Linear(Module& parent, std::string name, int64_t in, int64_t out,
               const LinearOptions& options)
    : Module(parent, std::move(name)),
      weight_(*this, "weight", {out, in},
              options.weight_init.value_or(Init::xavier_uniform(in, out)), options.attributes) {
  if (options.bias) {
    bias_.emplace(*this, "bias", std::vector<int64_t>{out}, Init::zeros(),
                  of_bias(options.attributes));
  }
}

at::Tensor Linear::forward(const at::Tensor& x) const {
  return ops::linear(x, *weight_, bias_ ? **bias_ : at::Tensor());
}

at::Tensor Linear::forward_gelu(const at::Tensor& x) const {
  return ops::linear_gelu(x, *weight_, bias_ ? **bias_ : at::Tensor());
}

}  // namespace gallop::nn
