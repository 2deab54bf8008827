#include "gallop/blocks/sublayer.h"

#include <ATen/ops/layer_norm.h>

#include "gallop/ops/adaln.h"

namespace gallop::blocks {

namespace {

constexpr double eps = 1e-6;

void add_tap(const nn::ForwardContext& ctx, const std::string& name, const at::Tensor& value) {
  if (ctx.taps != nullptr && !name.empty()) ctx.taps->add(name, value);
}

}  // namespace

at::Tensor Sublayer::forward(const at::Tensor& state, const Modulation& m,
                             const at::Tensor& weight_BL, const ResidualStream& stream,
                             const nn::ForwardContext& ctx) const {
  // Where the state is what the branch reads, its gradients through both meet in one pass.
  const auto [x_BLD, kept] =
      ops::adaln_modulate_and_keep(stream.read(state, number, ctx), m.shift_BD, m.scale_BD, eps);
  const at::Tensor& before = stream.reads_whole_state() ? kept : state;

  at::Tensor y_BLD = branch.forward(x_BLD, ctx);
  add_tap(ctx, input_tap, x_BLD);
  add_tap(ctx, tap, y_BLD);
  if (norm == NormPlacement::sandwich) {
    y_BLD = at::layer_norm(y_BLD, {y_BLD.size(-1)}, {}, {}, eps);
  }

  if (!weight_BL.defined()) return stream.write_gated(before, number, m.gate_BD, y_BLD, ctx);
  return stream.write(before, number,
                      ops::adaln_gate(m.gate_BD, y_BLD).mul(weight_BL.unsqueeze(-1)), ctx);
}

}  // namespace gallop::blocks
