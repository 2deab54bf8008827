#include "gallop/inspection/forward.h"

#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/number.h"
#include "gallop/formats/shards.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/sparse/choice/selection.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::inspection {

namespace {

using Tensors = std::map<std::string, at::Tensor>;
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

Tensors with_prefix(const Tensors& tensors, const std::string& prefix) {
  Tensors found;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) found.emplace(name.substr(prefix.size()), tensor);
  }
  return found;
}

bool is_expected(const std::string& name) {
  return name.starts_with("out.") || name.starts_with("grad.");
}

std::optional<double> tolerance(const formats::Metadata& metadata, const char* key,
                                const fs::path& path) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  const auto value = finite_number(found->second);
  require(value && *value >= 0, path.string(), ": metadata ", key, " = \"", found->second,
          "\" is no tolerance");
  return value;
}

std::string shape_of(const at::Tensor& tensor) { return shape_text(tensor.sizes()); }

// The inputs of a case, checked and in the types that the model takes.
class Inputs {
 public:
  Inputs(const models::Denoiser& model, const Tensors& tensors) : tensors_(tensors) {
    static const std::vector<std::string> known = {"x", "t", "y", "target", "cotangent"};
    for (const auto& [name, tensor] : tensors) {
      require(std::find(known.begin(), known.end(), name) != known.end(), "unknown input '", name,
              "': a forward takes ", join_list(known));
    }
    const at::Tensor& weight = **model.parameters().at(0);
    x = real("x", weight);
    require(x.dim() == 4, "the input x must be [B, C, H, W], got ", shape_of(x));
    t = per_sample("t");
    if (model.args().classes > 0) {
      y = per_sample("y");
      require(!y.is_floating_point(), "the labels y must be integers");
      y = y.to(at::kLong);
    } else {
      require(!tensors.contains("y"), "labels y were given to a model without classes");
    }
    require(!tensors.contains("target") || !tensors.contains("cotangent"),
            "give a target or a cotangent, not both");
    if (tensors.contains("target")) target = real("target", weight);
    if (tensors.contains("cotangent")) cotangent = real("cotangent", weight);
    require(!target.defined() || target.sizes() == x.sizes(), "the target ", shape_of(target),
            " must have the shape of x, ", shape_of(x));
  }

  at::Tensor x, t, y, target, cotangent;  ///< undefined where absent

 private:
  const at::Tensor& need(const std::string& name) const {
    const auto found = tensors_.find(name);
    require(found != tensors_.end(), "the inputs hold no '", name, "'");
    return found->second;
  }
  // A copy, so that it can collect a gradient of its own.
  at::Tensor real(const std::string& name, const at::Tensor& like) const {
    return need(name).to(like.options(), /*non_blocking=*/false, /*copy=*/true);
  }
  at::Tensor per_sample(const std::string& name) const {
    const at::Tensor& value = need(name);
    require(value.dim() == 1 && value.size(0) == x.size(0), "the input ", name, " must be [",
            x.size(0), "], one a sample of x, got ", shape_of(value));
    return value.to(x.device(), value.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  }

  const Tensors& tensors_;
};

// The loss and its parts.
NamedTensors losses_of(const models::Denoiser& model, const Inputs& in, const at::Tensor& output,
                       const std::vector<sparse::RoutingRecord>& routing, bool training) {
  if (in.cotangent.defined()) {
    require(in.cotangent.sizes() == output.sizes(), "the cotangent ", shape_of(in.cotangent),
            " must have the shape of the output, ", shape_of(output));
    return {{"loss", output.mul(in.cotangent).sum()}};
  }
  if (!in.target.defined()) return {};
  const at::Tensor image = output.narrow(1, 0, in.target.size(1));
  at::Tensor loss = image.sub(in.target).square().mean();
  NamedTensors parts = {{"loss.main", loss}};
  if (training) {
    for (const auto& total : sparse::total_losses(routing, model.to_tokens(in.target))) {
      parts.emplace_back("loss." + total.kind, total.value);
      loss = loss.add(total.value, total.weight);
    }
  }
  parts.insert(parts.begin(), {"loss", loss});
  return parts;
}

void add_routing(const std::vector<sparse::RoutingRecord>& routing, NamedTensors& results) {
  for (size_t i = 0; i < routing.size(); ++i) {
    const sparse::RoutingRecord& record = routing[i];
    const std::string name = "routing." + std::to_string(i);
    results.emplace_back(name + ".logits", record.logits_BLE);
    results.emplace_back(name + ".mask", record.kept.mask_BLE());
    const nn::Parameter* threshold =
        record.selection != nullptr ? record.selection->threshold() : nullptr;
    if (threshold != nullptr) {
      for (const sparse::PendingUpdate& update : record.pending) update.commit(0);
      results.emplace_back(name + ".threshold", (**threshold).clone());
    }
  }
}

void add_gradient(const std::string& name, const at::Tensor& leaf, NamedTensors& results) {
  const at::Tensor& gradient = leaf.grad();
  const bool rows = gradient.defined() && gradient.is_sparse();
  results.emplace_back("grad." + name, rows                 ? gradient.to_dense()
                                       : gradient.defined() ? gradient
                                                            : at::zeros_like(leaf));
}

}  // namespace

ForwardCase read_forward_case(const fs::path& weights, const fs::path& inputs) {
  ForwardCase result;
  const Tensors stored = nn::load_tensors(weights);
  result.weights = with_prefix(stored, "weight.");
  if (result.weights.empty()) result.weights = stored;

  const Tensors given = nn::load_tensors(inputs);
  result.inputs = with_prefix(given, "in.");
  const bool prefixed = !result.inputs.empty();
  for (const auto& [name, tensor] : given) {
    if (is_expected(name)) {
      result.expected.emplace(name.starts_with("out.") ? name.substr(4) : name, tensor);
    } else if (!prefixed) {
      result.inputs.emplace(name, tensor);
    }
  }
  const formats::Metadata metadata = formats::WeightsReader(inputs).metadata();
  result.rtol = tolerance(metadata, "rtol", inputs);
  result.atol = tolerance(metadata, "atol", inputs);
  return result;
}

NamedTensors run_forward(models::Denoiser& model, const ForwardCase& forward_case,
                         const ForwardOptions& options) {
  models::load_weights(model, forward_case.weights, "the set of weights");
  Inputs in(model, forward_case.inputs);
  if (options.gradients) {
    require(in.target.defined() || in.cotangent.defined(),
            "gradients need a loss: give the input target or cotangent");
    in.x.set_requires_grad(true);
    if (in.t.is_floating_point()) in.t.set_requires_grad(true);
    for (nn::Parameter* parameter : model.parameters()) (**parameter).mutable_grad().reset();
  }

  std::vector<sparse::RoutingRecord> routing;
  nn::Taps taps;
  const at::Tensor output = model.forward(in.x, {.training = options.training,
                                                 .timestep_B = in.t,
                                                 .label_B = in.y,
                                                 .routing = &routing,
                                                 .taps = options.blocks ? &taps : nullptr});
  sparse::require_finite_scores(routing);
  NamedTensors results = {{"output", output}};
  results.insert(results.end(), taps.tensors.begin(), taps.tensors.end());
  const NamedTensors losses = losses_of(model, in, output, routing, options.training);
  if (options.gradients) losses.front().second.backward();
  add_routing(routing, results);
  results.insert(results.end(), losses.begin(), losses.end());
  if (options.gradients) {
    add_gradient("x", in.x, results);
    if (in.t.requires_grad()) add_gradient("t", in.t, results);
    for (const nn::Parameter* parameter : model.parameters()) {
      if (parameter->trainable()) add_gradient(parameter->name(), **parameter, results);
    }
  }
  return results;
}

}  // namespace gallop::inspection
