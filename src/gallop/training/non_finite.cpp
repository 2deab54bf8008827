#include "gallop/training/non_finite.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "gallop/base/file.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/run_directory.h"
#include "gallop/training/gradients.h"

namespace gallop::training {

std::string NonFiniteStep::text() const {
  std::ostringstream text;
  if (!update.empty()) {
    text << "it would make " << update << ", its average or its moments NaN or infinite (learning "
         << "rate " << values.at("lr") << ", gradient norm " << values.at("grad_norm") << ")";
    return text.str();
  }
  text << "the loss is " << values.at("loss") << ", the gradient norm " << values.at("grad_norm")
       << "; first non-finite: ";
  const auto value = std::find_if(values.begin(), values.end(), [](const auto& named) {
    return named.first != "grad_norm" && named.first != "lr" && !std::isfinite(named.second);
  });
  if (!gradient.empty())
    text << "the gradient of " << gradient;
  else
    text << (value != values.end() ? value->first : "the sum of the squared gradients");
  return text.str();
}

void NonFiniteStep::dump(const nn::Module& model, const std::filesystem::path& folder) const {
  std::vector<std::pair<std::string, at::Tensor>> tensors{{"samples", at::tensor(samples)}};
  for (const nn::Parameter* parameter : model.parameters()) {
    tensors.emplace_back("weight." + parameter->name(), **parameter);
    if (!(**parameter).grad().defined()) continue;
    if (!parameter->has_row_gradient()) {
      tensors.emplace_back("grad." + parameter->name(), dense_gradient(*parameter));
      continue;
    }
    const RowGradient gradient = row_gradient(*parameter);
    tensors.emplace_back("grad_rows." + parameter->name(), gradient.rows_U);
    tensors.emplace_back("grad." + parameter->name(), gradient.values_UD);
  }
  formats::Metadata metadata{{"step", std::to_string(step)}, {"cause", text()}};
  for (const auto& [name, value] : values) metadata["value." + name] = std::to_string(value);
  file_system().make_directories(folder);
  nn::save_tensors(folder / (runs::step_name(step) + ".safetensors"), tensors, metadata);
}

}  // namespace gallop::training
