#pragma once

#include <string>
#include <vector>

#include "gallop/sparse/layers/experts.h"

namespace gallop::sparse {

/// What the plain path of expert kinds is made of: rows are pairs, sorted by expert.

/// y_p = x_p W_e^T + b_e with e the expert of pair p; x [P, in], w [E, out, in], b [E, out] or
/// undefined. An expert without a pair costs nothing.
at::Tensor grouped_linear(const at::Tensor& x_PI, const Kept& pairs, const at::Tensor& w_EOI,
                          const at::Tensor& b_EO);
/// y_t = sum over the pairs of token t, in their order, of weight_p y_p; exact zeros without a
/// pair.
at::Tensor combine(const at::Tensor& y_PD, const Kept& pairs, const at::Tensor& like_TD);

/// Pairs of every token with each of `experts` experts, all of weight 1.
Kept all_pairs(int64_t experts, const at::Tensor& x_TD);
/// The pairs of experts first .. first+count-1 alone, as experts 0 .. count-1.
Kept some_experts(const Kept& pairs, int64_t first, int64_t count);

/// Of the weights [E, H, D] of experts: the pairs of a sample, D and H.
struct UsedExperts {
  double pairs, D, H;
};
UsedExperts used_by(const nn::Parameter& weight_EHD, double tokens);

/// "gelu" (tanh), "relu" or "silu".
at::Tensor activate(const at::Tensor& x, const std::string& activation);
inline const std::vector<std::string>& activations() {
  static const std::vector<std::string> names = {"gelu", "relu", "silu"};
  return names;
}

/// Attributes of a tensor [E, ...] of which a token uses active/E.
nn::Attributes expert_attributes(const Experts::Args& args);

}  // namespace gallop::sparse
