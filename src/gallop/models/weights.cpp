#include "gallop/models/weights.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/log.h"
#include "gallop/base/text.h"
#include "gallop/models/fitted_names.h"

namespace gallop::models {
namespace {

constexpr size_t looked_up = 20;  // names whose nearest are told: each costs a comparison with all

std::string sizes_text(const WeightsReport::Reshaped& r) {
  return "expected " + shape_text(r.expected) + ", found " + shape_text(r.found);
}

/// What a class table of another number of rows likely means.
std::string likely_of(const Model& model, const std::string& name,
                      const std::vector<int64_t>& expected, const std::vector<int64_t>& found) {
  const auto classes = model.class_table();
  if (!classes || name != classes->table->name() || found.size() != 2 || found[1] != expected[1])
    return {};
  if (classes->null_row && found[0] == classes->classes)
    return "a row for each class and none for \"no class\": model.label_dropout = 0";
  if (!classes->null_row && found[0] == classes->classes + 1)
    return "one more row than classes, likely that of \"no class\": model.label_dropout above 0";
  return {};
}

/// Whether a table of the file is that of other sizes than the model's.
bool is_of_other_sizes(const Model& model, const nn::Parameter& parameter,
                       const at::Tensor& found) {
  if (!is_computed_table(parameter)) return false;
  const bool same = found.sizes() == at::IntArrayRef(parameter.shape()) &&
                    found.to(at::kDouble)
                        .allclose(parameter.init().compute().to(at::kDouble), 0,
                                  /*atol=*/0.01);  // bf16
  return !same && model.is_table_of_other_sizes(parameter, found);
}

}  // namespace

bool is_computed_table(const nn::Parameter& parameter) {
  return parameter.attributes().frozen && parameter.init().kind == nn::Init::Kind::computed;
}

std::string WeightsReport::text() const {
  std::ostringstream text;
  size_t asked = 0;
  for (const std::string& name : missing) {
    const std::string near = asked++ < looked_up ? nearest(name, unexpected) : std::string();
    text << "  missing:    " << name;
    if (!near.empty()) text << " (the nearest in the file: " << near << ")";
    text << "\n";
  }
  for (const std::string& name : unexpected) text << "  unexpected: " << name << "\n";
  for (const Reshaped& r : reshaped) {
    text << "  misshapen:  " << r.name << ": " << sizes_text(r);
    if (!r.likely.empty()) text << " (" << r.likely << ")";
    text << "\n";
  }
  std::string lines = text.str();
  if (!lines.empty()) lines.pop_back();
  return lines;
}

std::vector<std::string> WeightsReport::recomputed_lines() const {
  std::vector<std::string> lines;
  for (const Reshaped& r : recomputed)
    lines.push_back(r.name + " is computed anew for these sizes: " + shape_text(r.expected) +
                    ", the file has " +
                    (r.found == r.expected ? "that of another form" : shape_text(r.found)));
  return lines;
}

bool WeightsReport::is_recomputed(const std::string& name) const {
  return std::any_of(recomputed.begin(), recomputed.end(),
                     [&](const Reshaped& r) { return r.name == name; });
}

WeightsReport compare(const Model& model, const std::map<std::string, at::Tensor>& tensors) {
  WeightsReport report;
  std::set<std::string> known;
  for (const nn::Parameter* parameter : model.parameters()) {
    const std::string name = parameter->name();
    known.insert(name);
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      if (!is_computed_table(*parameter)) report.missing.push_back(name);
      continue;
    }
    const std::vector<int64_t>& expected = parameter->shape();
    const std::vector<int64_t> shape = found->second.sizes().vec();
    if (is_of_other_sizes(model, *parameter, found->second)) {
      report.recomputed.push_back({name, expected, shape});
      continue;
    }
    const auto classes = model.class_table();
    const bool rows =
        classes && parameter == classes->table && shape.size() == 2 && shape[1] == expected[1];
    if (shape != expected)
      report.reshaped.push_back({name, expected, shape, likely_of(model, name, expected, shape)});
    if ((shape == expected || rows) && !is_computed_table(*parameter)) ++report.matching;
  }
  for (const auto& [name, tensor] : tensors) {
    if (!known.contains(name)) report.unexpected.push_back(name);
  }
  return report;
}

std::string names_of_both(const Model& model, const std::map<std::string, at::Tensor>& tensors) {
  constexpr size_t shown = 5;
  const auto list_of = [&](const std::vector<std::string>& names) {
    std::string list;
    for (size_t i = 0; i < std::min(names.size(), shown); ++i)
      list += (i == 0 ? "" : ", ") + names[i];
    return list + (names.size() > shown ? ", ..." : "");
  };
  std::vector<std::string> ours, theirs;
  for (const nn::Parameter* parameter : model.parameters()) ours.push_back(parameter->name());
  for (const auto& [name, tensor] : tensors) theirs.push_back(name);
  std::string near;
  for (size_t i = 0, told = 0; i < std::min(ours.size(), looked_up) && told < 3; ++i) {
    const std::string found = nearest(ours[i], theirs);
    if (found.empty()) continue;
    near += (near.empty() ? ". Nearest: " : ", ") + ours[i] + " to " + found;
    ++told;
  }
  return "It has " + std::to_string(theirs.size()) + " tensors: " + list_of(theirs) +
         ". The model has " + std::to_string(ours.size()) + ": " + list_of(ours) + near;
}

void load_weights(Model& model, std::map<std::string, at::Tensor> tensors,
                  const std::string& what) {
  FittedNames fitted = fit_names(model, std::move(tensors), what);
  const WeightsReport report = compare(model, fitted.tensors);
  require(report.matching > 0 || report.exact(), what, " holds no tensor of the model (",
          model.summary(), ") by name and shape. ", names_of_both(model, fitted.tensors),
          ". Is it of another model or recipe?");
  require(report.exact(), what, " does not fit the model (", model.summary(), "):\n", report.text(),
          "\nIs it of another model or recipe?");
  for (const std::string& note : fitted.notes) log_info(what, ": ", note);
  for (const std::string& line : report.recomputed_lines()) log_info(what, ": ", line);
  const at::NoGradGuard no_grad;
  for (nn::Parameter* parameter : model.parameters()) {
    const auto found = fitted.tensors.extract(parameter->name());
    if (!found.empty() && !report.is_recomputed(parameter->name()))
      (**parameter).copy_(found.mapped());
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
