#include "gallop/ops/adaln.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>

#include "gallop/base/error.h"
#include "gallop/ops/bridge.h"
#include "gallop/ops/cpu/modulation.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/kernel.h"

namespace gallop::ops {

namespace {

using Tensors = std::vector<at::Tensor>;

constexpr int64_t rows_of_a_task = 64;

void check(const char* name, const at::Tensor& x_BLD, const at::Tensor& m_BD) {
  require(x_BLD.dim() == 3 && m_BD.dim() == 2 && m_BD.size(0) == x_BLD.size(0) &&
              m_BD.size(1) == x_BLD.size(2),
          name, ": ", x_BLD.sizes(), " takes one row a sample, got ", m_BD.sizes());
}

// A modulation is mostly a part of a longer row of modulations.
class SampleRows {
 public:
  explicit SampleRows(const at::Tensor& m_BD)
      : tensor_(m_BD.stride(1) == 1 ? m_BD : m_BD.contiguous()),
        data_(tensor_.const_data_ptr<float>()),
        ld_(tensor_.stride(0)) {}
  const float* operator[](int64_t b) const { return data_ + b * ld_; }

 private:
  at::Tensor tensor_;  // keeps the data alive
  const float* data_;
  int64_t ld_;
};

at::Tensor modulate(const at::Tensor& x_BLD, const at::Tensor& shift_BD, const at::Tensor& scale_BD,
                    float eps) {
  const int64_t B = x_BLD.size(0), L = x_BLD.size(1), D = x_BLD.size(2);
  const SampleRows shift(shift_BD), scale(scale_BD);
  const at::Tensor x = x_BLD.contiguous(), y = at::empty_like(x);
  const float* from = x.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  parallel_parts(B * L, rows_of_a_task, D, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      normalize_modulate(from + r * D, shift[r / L], scale[r / L], D, eps, to + r * D);
    }
  });
  return y;
}

// One task a sample: its sums over the tokens go from the first to the last. grads: of y, and of x
// where it was kept.
Tensors modulate_backward(const Tensors& grads, const Tensors& in, const std::vector<bool>& needed,
                          float eps) {
  if (!grads[0].defined()) return {grads[1], {}, {}};  // only what was kept has been used
  const int64_t B = in[0].size(0), L = in[0].size(1), D = in[0].size(2);
  const SampleRows scale(in[2]);
  const bool kept = grads.size() > 1 && grads[1].defined();
  const at::Tensor x = in[0].contiguous(), dy = grads[0].contiguous(),
                   more = kept ? grads[1].contiguous() : at::Tensor();
  const at::Tensor dx = at::empty_like(x), dshift = at::empty({B, D}, x.options()),
                   dscale = at::empty({B, D}, x.options());
  parallel_each(B, B * L * D * work_of_a_number, [&](int64_t b) {
    normalize_modulate_backward(
        x.const_data_ptr<float>() + b * L * D, scale[b], dy.const_data_ptr<float>() + b * L * D,
        kept ? more.const_data_ptr<float>() + b * L * D : nullptr, L, D, eps,
        dx.mutable_data_ptr<float>() + b * L * D, dshift.mutable_data_ptr<float>() + b * D,
        dscale.mutable_data_ptr<float>() + b * D);
  });
  return {needed[0] ? dx : at::Tensor(), needed[1] ? dshift : at::Tensor(),
          needed[2] ? dscale : at::Tensor()};
}

// gate * y, and x more than that if it is defined.
at::Tensor gate(const at::Tensor& x_BLD, const at::Tensor& gate_BD, const at::Tensor& y_BLD) {
  const int64_t B = y_BLD.size(0), L = y_BLD.size(1), D = y_BLD.size(2);
  const SampleRows gates(gate_BD);
  const at::Tensor y = y_BLD.contiguous(), out = at::empty_like(y),
                   x = x_BLD.defined() ? x_BLD.contiguous() : x_BLD;
  const float *from = y.const_data_ptr<float>(),
              *base = x.defined() ? x.const_data_ptr<float>() : nullptr;
  float* to = out.mutable_data_ptr<float>();
  parallel_parts(B * L, rows_of_a_task, D, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (base == nullptr) {
        multiply_elements(gates[r / L], from + r * D, D, to + r * D);
      } else {
        add_multiplied(base + r * D, gates[r / L], from + r * D, D, to + r * D);
      }
    }
  });
  return out;
}

ModulatedAndKept run_modulate(const at::Tensor& x_BLD, const at::Tensor& shift_BD,
                              const at::Tensor& scale_BD, double eps, bool keep) {
  check("adaln_modulate", x_BLD, shift_BD);
  check("adaln_modulate", x_BLD, scale_BD);
  const Tensors inputs{x_BLD, shift_BD, scale_BD};
  if (!has_kernel(inputs)) {
    return {adaln_modulate_reference(x_BLD, shift_BD, scale_BD, eps), x_BLD};
  }
  keep = keep && wants_graph(inputs);
  Tensors outputs;
  {
    const at::NoGradGuard no_grad;
    outputs.push_back(modulate(x_BLD, shift_BD, scale_BD, static_cast<float>(eps)));
    if (keep) outputs.push_back(x_BLD.detach());
  }
  set_derivative(outputs, inputs,
                 {"AdalnModulate",
                  [eps](const Tensors& grads, const Tensors& in, const std::vector<bool>& needed) {
                    return modulate_backward(grads, in, needed, static_cast<float>(eps));
                  },
                  [eps, keep](const Tensors& in) {
                    Tensors again{adaln_modulate_reference(in[0], in[1], in[2], eps)};
                    if (keep) again.push_back(in[0].view(in[0].sizes()));
                    return again;
                  }});
  return {outputs[0], keep ? outputs[1] : x_BLD};
}

Tensors gate_backward(const at::Tensor& dout_BLD, const Tensors& in,
                      const std::vector<bool>& needed) {
  const int64_t B = in[1].size(0), L = in[1].size(1), D = in[1].size(2);
  const SampleRows gates(in[0]);
  const at::Tensor y = in[1].contiguous(), dout = dout_BLD.contiguous();
  const at::Tensor dgate = at::empty({B, D}, y.options()), dy = at::empty_like(y);
  parallel_each(B, B * L * D * work_of_a_number, [&](int64_t b) {
    multiply_elements_backward(
        gates[b], y.const_data_ptr<float>() + b * L * D, dout.const_data_ptr<float>() + b * L * D,
        L, D, dgate.mutable_data_ptr<float>() + b * D, dy.mutable_data_ptr<float>() + b * L * D);
  });
  return {needed[0] ? dgate : at::Tensor(), needed[1] ? dy : at::Tensor()};
}

}  // namespace

at::Tensor adaln_modulate_reference(const at::Tensor& x_BLD, const at::Tensor& shift_BD,
                                    const at::Tensor& scale_BD, double eps) {
  const at::Tensor normed_BLD = at::layer_norm(x_BLD, {x_BLD.size(-1)}, {}, {}, eps);
  return shift_BD.unsqueeze(1).addcmul(normed_BLD, scale_BD.unsqueeze(1) + 1);
}

at::Tensor adaln_gate_reference(const at::Tensor& gate_BD, const at::Tensor& y_BLD) {
  return gate_BD.unsqueeze(1).mul(y_BLD);
}

at::Tensor adaln_add_reference(const at::Tensor& x_BLD, const at::Tensor& gate_BD,
                               const at::Tensor& y_BLD) {
  return x_BLD.add(adaln_gate_reference(gate_BD, y_BLD));
}

at::Tensor adaln_modulate(const at::Tensor& x_BLD, const at::Tensor& shift_BD,
                          const at::Tensor& scale_BD, double eps) {
  return run_modulate(x_BLD, shift_BD, scale_BD, eps, /*keep=*/false).modulated_BLD;
}

ModulatedAndKept adaln_modulate_and_keep(const at::Tensor& x_BLD, const at::Tensor& shift_BD,
                                         const at::Tensor& scale_BD, double eps) {
  return run_modulate(x_BLD, shift_BD, scale_BD, eps, /*keep=*/true);
}

at::Tensor adaln_gate(const at::Tensor& gate_BD, const at::Tensor& y_BLD) {
  check("adaln_gate", y_BLD, gate_BD);
  if (!has_kernel({gate_BD, y_BLD})) return adaln_gate_reference(gate_BD, y_BLD);
  at::Tensor out;
  {
    const at::NoGradGuard no_grad;
    out = gate({}, gate_BD, y_BLD);
  }
  set_derivative({out}, {gate_BD, y_BLD},
                 {"AdalnGate",
                  [](const Tensors& grads, const Tensors& in, const std::vector<bool>& needed) {
                    return gate_backward(grads[0], in, needed);
                  },
                  [](const Tensors& in) { return Tensors{adaln_gate_reference(in[0], in[1])}; }});
  return out;
}

at::Tensor adaln_add(const at::Tensor& x_BLD, const at::Tensor& gate_BD, const at::Tensor& y_BLD) {
  check("adaln_add", y_BLD, gate_BD);
  require(x_BLD.sizes() == y_BLD.sizes(), "adaln_add: ", x_BLD.sizes(), " and ", y_BLD.sizes(),
          " cannot be added");
  if (!has_kernel({x_BLD, gate_BD, y_BLD})) return adaln_add_reference(x_BLD, gate_BD, y_BLD);
  at::Tensor out;
  {
    const at::NoGradGuard no_grad;
    out = gate(x_BLD, gate_BD, y_BLD);
  }
  set_derivative(
      {out}, {x_BLD, gate_BD, y_BLD},
      {"AdalnAdd",
       [](const Tensors& grads, const Tensors& in, const std::vector<bool>& needed) {
         const Tensors both = gate_backward(grads[0], {in[1], in[2]}, {needed[1], needed[2]});
         return Tensors{needed[0] ? grads[0] : at::Tensor(), both[0], both[1]};
       },
       [](const Tensors& in) { return Tensors{adaln_add_reference(in[0], in[1], in[2])}; }});
  return out;
}

}  // namespace gallop::ops
