#include "gallop/models/packed_forward.h"

namespace gallop::models {

namespace {

std::vector<at::Tensor> matrices_of(const Model& model) {
  std::vector<at::Tensor> matrices;
  for (const nn::Parameter* parameter : model.parameters()) {
    if (ops::may_have_form(**parameter)) matrices.push_back(**parameter);
  }
  return matrices;
}

}  // namespace

std::unique_ptr<const ops::PackedWeights> packed_weights(const Model& model) {
  return std::make_unique<const ops::PackedWeights>(matrices_of(model));
}

PackedForward::PackedForward(const Model& model) : weights_(matrices_of(model)), guard_(weights_) {}

}  // namespace gallop::models
