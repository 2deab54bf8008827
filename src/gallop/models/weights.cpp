#include "gallop/models/weights.h"

#include <ATen/core/grad_mode.h>

#include <set>
#include <sstream>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/models/official_names.h"

namespace gallop::models {

std::string WeightsReport::text() const {
  std::ostringstream text;
  for (const std::string& name : missing) text << "  missing:    " << name << "\n";
  for (const std::string& name : unexpected) text << "  unexpected: " << name << "\n";
  for (const Reshaped& r : reshaped) {
    text << "  misshapen:  " << r.name << ": expected " << shape_text(r.expected) << ", found "
         << shape_text(r.found) << "\n";
  }
  std::string lines = text.str();
  if (!lines.empty()) lines.pop_back();
  return lines;
}

WeightsReport compare(const Model& model, const std::map<std::string, at::Tensor>& tensors) {
  WeightsReport report;
  std::set<std::string> known;
  for (const nn::Parameter* parameter : model.parameters()) {
    const std::string name = parameter->name();
    known.insert(name);
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      // A frozen table is computed, so a file need not hold it.
      if (!parameter->attributes().frozen) report.missing.push_back(name);
    } else if (found->second.sizes() != at::IntArrayRef(parameter->shape())) {
      report.reshaped.push_back({name, parameter->shape(), found->second.sizes().vec()});
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (!known.contains(name)) report.unexpected.push_back(name);
  }
  return report;
}

void load_weights(Model& model, std::map<std::string, at::Tensor> tensors,
                  const std::string& what) {
  tensors = with_our_names(std::move(tensors));
  const WeightsReport report = compare(model, tensors);
  require(report.exact(), what, " does not fit the model (", model.summary(), "):\n", report.text(),
          "\nIs it of another model or recipe?");
  const at::NoGradGuard no_grad;
  for (nn::Parameter* parameter : model.parameters()) {
    const auto found = tensors.extract(parameter->name());
    if (!found.empty()) (**parameter).copy_(found.mapped());
  }
}

std::vector<std::pair<std::string, at::Tensor>> named_tensors(const nn::Module& model) {
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (const nn::Parameter* parameter : model.parameters()) {
    named.emplace_back(parameter->name(), (**parameter).detach());
  }
  return named;
}

}  // namespace gallop::models
