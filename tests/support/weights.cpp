#include "tests/support/weights.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "gallop/config/parse.h"

namespace gallop::testing {
namespace {

struct Holder : config::Fields<Holder> {
  config::Component part{"", ""};
  void fields(config::Visitor& v) override { v.component("part", part, "the part"); }
};

}  // namespace

void load(nn::Module& module, const std::map<std::string, at::Tensor>& values) {
  module.materialize(/*seed=*/0);
  const at::NoGradGuard no_grad;
  size_t loaded = 0;
  for (nn::Parameter* parameter : module.parameters()) {
    const auto found = values.find(parameter->name());
    ASSERT_NE(found, values.end()) << "no value for " << parameter->name();
    ASSERT_EQ(found->second.sizes(), at::IntArrayRef(parameter->shape())) << parameter->name();
    (**parameter).copy_(found->second);
    ++loaded;
  }
  ASSERT_EQ(loaded, values.size()) << "values for parameters that the module does not have";
}

at::Tensor gradient_of(const nn::Parameter& parameter) {
  const at::Tensor& gradient = (*parameter).grad();
  return gradient.defined() ? gradient : at::zeros_like(*parameter);
}

config::Component component(const std::string& category, const std::string& toml,
                            const std::vector<std::string>& overrides) {
  Holder holder;
  holder.part = config::Component(category, "");
  std::vector<std::string> in_part;
  for (const std::string& change : overrides) in_part.push_back("part." + change);
  config::load_text(holder, "[part]\n" + toml, "test", in_part);
  return holder.part;
}

}  // namespace gallop::testing
