#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gallop/config/registry.h"
#include "gallop/config/schema.h"
#include "gallop/nn/module.h"

namespace gallop::testing {

/// Materialises a module with the given values. Fails the running test unless the names are exactly
/// those of its parameters and buffers; the shapes are checked by Parameter::set_value.
void load(nn::Module& module, const std::map<std::string, at::Tensor>& values);

/// The gradient that a parameter has collected, zeros where nothing reached it.
at::Tensor gradient_of(const nn::Parameter& parameter);

/// A component of a category with the settings written as TOML (its kind among them), changed by
/// overrides `key=value`.
config::Component component(const std::string& category, const std::string& toml,
                            const std::vector<std::string>& overrides = {});

/// The kind of `Base` with such settings.
template <class Base>
std::unique_ptr<Base> make(const std::string& toml, const typename Base::Args& args,
                           const std::vector<std::string>& overrides = {}) {
  return config::make<Base>(component(Base::category, toml, overrides), args);
}

}  // namespace gallop::testing
