#include "gallop/models/packed_forward.h"

namespace gallop::models {

namespace {

std::vector<at::Tensor> matrices_of(const Model& model) {
  std::vector<at::Tensor> matrices;
  for (const nn::Parameter* parameter : model.parameters()) {
    const at::Tensor& value = **parameter;
    if ((value.dim() == 2 || value.dim() == 3) && value.is_cpu() && value.is_contiguous() &&
        value.scalar_type() == at::kFloat) {
      matrices.push_back(value);
    }
  }
  return matrices;
}

}  // namespace

PackedForward::PackedForward(const Model& model) : weights_(matrices_of(model)), guard_(weights_) {}

}  // namespace gallop::models
