#include "gallop/models/int8.h"

namespace gallop::models {

std::vector<const nn::Parameter*> int8_candidates(const Model& model) {
  std::vector<const nn::Parameter*> candidates;
  for (const nn::Parameter* parameter : model.parameters()) {
    const nn::Attributes& attributes = parameter->attributes();
    const std::vector<int64_t>& shape = parameter->shape();
    const bool fits = (shape.size() == 2 || shape.size() == 3) && shape.back() >= least_int8_width;
    if (parameter->role() == nn::Role::matrix && fits && attributes.in_block &&
        parameter->trainable() && !attributes.auxiliary && !attributes.per_sample) {
      candidates.push_back(parameter);
    }
  }
  return candidates;
}

}  // namespace gallop::models
