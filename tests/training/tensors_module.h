#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/nn/module.h"

namespace gallop::testing {

/// A module that holds the given tensors as parameters of these names.
class TensorsModule : public nn::Module {
 public:
  explicit TensorsModule(const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                         nn::Attributes attributes = {}) {
    for (const auto& [name, tensor] : tensors) add(name, tensor, attributes);
  }

  nn::Parameter& add(const std::string& name, const at::Tensor& value,
                     nn::Attributes attributes = {}) {
    auto& parameter = parameters_.emplace_back(std::make_unique<nn::Parameter>(
        *this, name, value.sizes().vec(), nn::Init::zeros(), attributes));
    at::Tensor copy = value.clone();
    copy.set_requires_grad(parameter->trainable());
    parameter->set_value(copy);
    return *parameter;
  }

 private:
  std::vector<std::unique_ptr<nn::Parameter>> parameters_;
};

}  // namespace gallop::testing
