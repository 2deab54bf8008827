#include "tests/support/tiny_network.h"

#include <ATen/ops/cat.h>

namespace gallop::testing {

TinyNetwork::TinyNetwork(const Fixture& fixture, at::ScalarType dtype)
    : A_(fixture.weight("A").to(dtype)),
      B_(fixture.weight("B").to(dtype)),
      omega_(fixture.weight("omega").to(dtype)),
      E_(fixture.weight("E").to(dtype)),
      bias_(fixture.weight("bias").to(dtype)),
      time_scale_(fixture.config().at("time_scale").as_double()) {
  if (!fixture.has("weight.c_skip")) return;
  c_skip_ = fixture.weight("c_skip").to(dtype);
  c_out_ = fixture.weight("c_out").to(dtype);
}

at::Tensor TinyNetwork::operator()(const at::Tensor& x, const at::Tensor& t_B,
                                   const at::Tensor& label_B) const {
  const at::Tensor x_BHWC = x.permute({0, 2, 3, 1});
  const at::Tensor time_Bh = t_B.to(x.scalar_type()).mul(time_scale_).unsqueeze(1).mul(omega_);
  const at::Tensor condition_Bh = time_Bh.add(E_.index_select(0, label_B));
  const at::Tensor hidden =
      x_BHWC.matmul(A_.t()).add(condition_Bh.unsqueeze(1).unsqueeze(1)).tanh();
  const at::Tensor output = hidden.matmul(B_.t()).add(bias_).permute({0, 3, 1, 2});
  if (!c_skip_.defined()) return output;

  const int64_t C = x.size(1);
  const auto at_time = [&](const at::Tensor& table) {
    return table.index_select(0, t_B).view({-1, 1, 1, 1});
  };
  const at::Tensor image = at_time(c_skip_).mul(x).add(at_time(c_out_).mul(output.narrow(1, 0, C)));
  return at::cat({image, output.narrow(1, C, output.size(1) - C)}, 1);
}

diffusion::Network TinyNetwork::with_labels(const at::Tensor& label_B) const {
  return [*this, label_B](const at::Tensor& x, const at::Tensor& t_B) {
    return (*this)(x, t_B, label_B);
  };
}

}  // namespace gallop::testing
