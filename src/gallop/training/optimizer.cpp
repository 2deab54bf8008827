#include "gallop/training/optimizer.h"

namespace gallop::training {

std::vector<nn::Parameter*> trainable_parameters(nn::Module& model) {
  std::vector<nn::Parameter*> trainable;
  for (nn::Parameter* parameter : model.parameters()) {
    if (parameter->trainable()) trainable.push_back(parameter);
  }
  return trainable;
}

}  // namespace gallop::training
