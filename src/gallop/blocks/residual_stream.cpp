#include "gallop/blocks/residual_stream.h"

#include <ATen/ops/where.h>

#include "gallop/blocks/positions.h"
#include "gallop/ops/adaln.h"

namespace gallop::blocks {

namespace {

// [B, L] or [B, L, D] for a state [B, L, ..., D].
at::Tensor for_lanes(at::Tensor weight, const at::Tensor& state) {
  if (weight.dim() == 2) weight = weight.unsqueeze(-1);
  while (weight.dim() < state.dim()) weight = weight.unsqueeze(2);
  return weight;
}

}  // namespace

at::Tensor ResidualStream::write_gated(const at::Tensor& state, int64_t i,
                                       const at::Tensor& gate_BD, const at::Tensor& y_BLD,
                                       const nn::ForwardContext& ctx) const {
  return write(state, i, ops::adaln_gate(gate_BD, y_BLD), ctx);
}

at::Tensor ResidualStream::take(const at::Tensor& state, const at::Tensor& positions_BK) const {
  return at_positions(state, positions_BK);
}

at::Tensor ResidualStream::put(const at::Tensor& state, const at::Tensor& positions_BK,
                               const at::Tensor& part) const {
  return put_positions(state, positions_BK, part);
}

at::Tensor ResidualStream::where(const at::Tensor& mask_BL, const at::Tensor& state,
                                 const at::Tensor& other) const {
  return at::where(for_lanes(mask_BL, state), state, other);
}

at::Tensor ResidualStream::scale(const at::Tensor& state, const at::Tensor& weight) const {
  return state.mul(for_lanes(weight, state));
}

at::Tensor ResidualStream::add(const at::Tensor& state, const at::Tensor& other) const {
  return state.add(other);
}

at::Tensor ResidualStream::subtract(const at::Tensor& state, const at::Tensor& other) const {
  return state.sub(other);
}

}  // namespace gallop::blocks
