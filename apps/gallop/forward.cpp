// gallop forward: one forward (and backward) from files to a file, and against expected values.
#include <ATen/core/Tensor.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/command.h"
#include "gallop/inspection/comparison.h"
#include "gallop/inspection/forward.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/number_options.h"
#include "gallop/options.h"
#include "gallop/runs/device.h"
#include "gallop/runs/recipe.h"
#include "gallop/runs/restore.h"

namespace gallop {
namespace {

struct ForwardCommand {
  std::string recipe, weights, inputs, outputs;
  std::vector<std::string> overrides;
  inspection::ForwardOptions options;
  bool check = false;
  std::optional<double> rtol, atol;
};

void forward(const ForwardCommand& command) {
  require(!command.outputs.empty() || command.check,
          "forward needs --outputs FILE, --check, or both: otherwise its results go nowhere");
  const inspection::ForwardCase forward_case = inspection::read_forward_case(
      command.weights, command.inputs.empty() ? command.weights : command.inputs);
  const auto tolerance = [&](const char* name, const std::optional<double>& option,
                             const std::optional<double>& stored) {
    require(!command.check || option || stored, "--check needs --", name,
            ": the metadata of the inputs state none");
    return option.value_or(stored.value_or(0));
  };
  const double rtol = tolerance("rtol", command.rtol, forward_case.rtol);
  const double atol = tolerance("atol", command.atol, forward_case.atol);

  runs::Recipe recipe = runs::load_recipe(command.recipe, command.overrides);
  const auto any = runs::make_model(recipe);
  auto* model = dynamic_cast<models::Denoiser*>(any.get());
  require(model != nullptr, "forward runs networks on images (dit), and this recipe has ",
          any->summary());
  model->materialize(static_cast<uint64_t>(recipe.seed), {}, command.options.gradients);
  const ops::PrecisionGuard precision(runs::precision_of(recipe));
  const auto results = inspection::run_forward(*model, forward_case, command.options);
  for (const auto& [name, tensor] : results) {
    if (!tensor.isfinite().all().item<bool>())
      log_warning("the result ", name, " holds values that are NaN or infinite");
  }
  if (!command.outputs.empty()) nn::save_tensors(command.outputs, results);
  if (!command.check) return;
  const inspection::ComparisonReport report =
      inspection::compare_all(results, forward_case.expected, rtol, atol);
  std::fputs(report.text().c_str(), stdout);
  if (!report.passed()) throw Exit{1};
}

const Command registered{[](CLI::App& app) {
  const auto command = std::make_shared<ForwardCommand>();
  CLI::App* sub = app.add_subcommand(
      "forward", "run the model of a recipe once, from weights and inputs in files to a file");
  sub->add_option("recipe", command->recipe,
                  "recipe in TOML; with task.model.channels, .image and .classes it needs no data")
      ->required();
  sub->add_option("--weights", command->weights,
                  "safetensors, by parameter name, with or without the prefix \"weight.\"")
      ->required();
  sub->add_option("--inputs", command->inputs,
                  "safetensors with x, t, y, and for a loss target or cotangent, with or without "
                  "the prefix \"in.\"; default: the file of the weights");
  sub->add_option("--outputs", command->outputs, "safetensors file to write the results to");
  sub->add_flag("--train", command->options.training,
                "route as in training; with a target, add the sparse losses");
  sub->add_flag("--gradients", command->options.gradients,
                "of the loss to x, to t if it is no integer, and to every trained parameter");
  sub->add_flag("--blocks", command->options.blocks, "write the values inside the model, too");
  sub->add_flag("--check", command->check,
                "compare with the out.* and grad.* of the inputs; status 1 if one differs");
  add_number(*sub, "--rtol", command->rtol, "relative tolerance; default: of the file's metadata",
             config::at_least(0));
  add_number(*sub, "--atol", command->atol, "absolute tolerance; default: of the file's metadata",
             config::at_least(0));
  add_overrides(*sub, command->overrides);
  sub->callback([command] { forward(*command); });
}};

}  // namespace
}  // namespace gallop
