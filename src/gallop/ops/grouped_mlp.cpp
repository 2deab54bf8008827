#include "gallop/ops/grouped_mlp.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros_like.h>

#include <vector>

#include "gallop/ops/activation.h"

namespace gallop::ops {

at::Tensor grouped_mlp_reference(const at::Tensor& x_TD, const at::Tensor& offsets,
                                 const at::Tensor& tokens_P, const at::Tensor& weights_P,
                                 const GroupedMlpWeights& mlp) {
  const at::Tensor loads = offsets.diff();
  const std::vector<int64_t> counts(loads.const_data_ptr<int64_t>(),
                                    loads.const_data_ptr<int64_t>() + loads.numel());
  const auto groups = x_TD.index_select(0, tokens_P).split_with_sizes(counts);
  std::vector<at::Tensor> outputs;
  for (size_t e = 0; e < groups.size(); ++e) {
    const auto expert = static_cast<int64_t>(e);
    const at::Tensor hidden =
        gelu_tanh(at::linear(groups[e], mlp.w1_EHD.select(0, expert), mlp.b1_EH.select(0, expert)));
    outputs.push_back(
        at::linear(hidden, mlp.w2_EDH.select(0, expert), mlp.b2_ED.select(0, expert)));
  }
  const at::Tensor y_PD = at::cat(outputs).mul(weights_P.unsqueeze(1));
  return at::zeros_like(x_TD).index_add(0, tokens_P, y_PD);
}

at::Tensor grouped_mlp(const at::Tensor& x_TD, const at::Tensor& offsets,
                       const at::Tensor& tokens_P, const at::Tensor& weights_P,
                       const GroupedMlpWeights& mlp) {
  return grouped_mlp_reference(x_TD, offsets, tokens_P, weights_P, mlp);
}

}  // namespace gallop::ops
