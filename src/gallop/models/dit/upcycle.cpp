#include "gallop/models/dit/upcycle.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/models/weights.h"
#include "gallop/sparse/choice/routing_record.h"

namespace gallop::models {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

constexpr std::string_view kFirstLayer = ".experts.fc1.weight";

at::Tensor take(Tensors& tensors, const std::string& name) {
  auto found = tensors.extract(name);
  require(!found.empty(), "the dense weights have no '", name,
          "': upcycling needs the names of facebookresearch/DiT");
  return found.mapped();
}

// The pieces of a tensor along `dim`, as experts [E, ...]: all pieces of a copy, then the next
// copy.
at::Tensor pieces(const at::Tensor& whole, int64_t dim, const UpcycledLayer& layer) {
  const int64_t width = whole.size(dim) / layer.parts;
  const at::Tensor cut = whole.unfold(dim, width, width);  // [.., parts, .., width]
  std::vector<int64_t> repeats(static_cast<size_t>(whole.dim()) + 1, 1);
  repeats[0] = layer.copies;
  return cut.movedim(dim, 0).movedim(-1, dim + 1).repeat(repeats);
}

// Takes a dense MLP of `dense` and puts the experts that it makes there instead.
UpcycledLayer replace_mlp(const Denoiser& model, const std::string& prefix, Tensors& dense) {
  const std::string from = prefix + "mlp.", to = prefix + "moe.experts.";
  const std::vector<int64_t>& shape = model.find_parameter(to + "fc1.weight")->shape();  // [E,h,D]
  const at::Tensor fc1 = take(dense, from + "fc1.weight"), fc2 = take(dense, from + "fc2.weight"),
                   fc2_bias = take(dense, from + "fc2.bias");
  require(fc1.dim() == 2 && fc1.size(0) % shape[1] == 0, to + "fc1.weight", ": experts of width ",
          shape[1], " cannot be cut from an MLP of hidden width ", fc1.size(0),
          ": it must be a multiple (see mlp.hidden and mlp.split)");
  UpcycledLayer layer{.name = prefix + "moe", .parts = fc1.size(0) / shape[1]};
  require(shape[0] % layer.parts == 0, layer.name, ": ", shape[0], " experts are no whole copies ",
          "of an MLP that is cut into ", layer.parts, " parts");
  layer.copies = shape[0] / layer.parts;
  dense[to + "fc1.weight"] = pieces(fc1, 0, layer);
  dense[to + "fc1.bias"] = pieces(take(dense, from + "fc1.bias"), 0, layer);
  dense[to + "fc2.weight"] = pieces(fc2, 1, layer);
  // Each piece brings its share, so that a whole copy has it once.
  dense[to + "fc2.bias"] = fc2_bias.div(static_cast<double>(layer.parts)).repeat({shape[0], 1});
  return layer;
}

// Copies what the model has; throws Error unless only routers and what belongs to them is missing.
std::vector<std::string> fill(Denoiser& model, const Tensors& tensors) {
  WeightsReport report = compare(model, tensors);
  std::vector<std::string> fresh;
  std::erase_if(report.missing, [&](const std::string& name) {
    const bool of_router = name.find(".moe.router.") != std::string::npos ||
                           model.find_parameter(name)->attributes().buffer;
    if (of_router) fresh.push_back(name);
    return of_router;
  });
  require(report.exact(), "the dense weights do not make this model (", model.summary(), "):\n",
          report.text(), "\nSparse layers are made of experts of kind \"mlp\" with biases only.");
  for (const std::string& line : report.recomputed_lines()) log_info(line);
  for (nn::Parameter* parameter : model.parameters()) {
    const auto found = tensors.find(parameter->name());
    if (found != tensors.end() && !report.is_recomputed(parameter->name()))
      (**parameter).copy_(found->second);
  }
  return fresh;
}

// The router's last layer, where it has one of the usual name; null pointers where not.
struct LastLayer {
  nn::Parameter *weight, *bias;
  LastLayer(Denoiser& model, const std::string& layer)
      : weight(model.find_parameter(layer + ".router.gate.weight")),
        bias(model.find_parameter(layer + ".router.gate.bias")) {}
};

struct Weights {
  double of_a_pair = 0, pairs_of_a_token = 0;
  double sum() const { return of_a_pair * pairs_of_a_token; }
};

// The combine weights of each layer as its router stands. A selection that drops pairs of equal
// scores, or keeps more than K, must not look like one that gives less or more weight.
std::map<std::string, Weights> combine_weights(const Denoiser& model) {
  constexpr int64_t B = 2;
  const Denoiser::Args& sizes = model.args();
  std::vector<sparse::RoutingRecord> routing;
  nn::ForwardContext ctx{.training = true, .timestep_B = at::zeros({B}), .routing = &routing};
  if (sizes.classes > 0) ctx.label_B = at::zeros({B}, at::kLong);
  model.forward(at::zeros({B, sizes.channels, sizes.height, sizes.width}), ctx);
  std::map<std::string, Weights> found;
  for (const sparse::RoutingRecord& record : routing) {
    const int64_t pairs = record.kept.count(), tokens = B * record.x_BLD.size(1);
    if (pairs == 0) continue;
    found[record.layer] = {
        .of_a_pair = record.kept.weights_P.mean().item<double>(),
        .pairs_of_a_token =
            std::max(record.active, static_cast<double>(pairs) / static_cast<double>(tokens))};
  }
  return found;
}

void set_constants(Denoiser& model, std::vector<UpcycledLayer>& layers) {
  for (const UpcycledLayer& layer : layers) {
    const LastLayer last(model, layer.name);
    if (last.weight) (**last.weight).zero_();
    if (last.bias) (**last.bias).zero_();
  }
  std::map<std::string, Weights> found = combine_weights(model);
  for (UpcycledLayer& layer : layers) {
    if (found[layer.name].sum() != 0) continue;
    const LastLayer last(model, layer.name);
    require(last.bias != nullptr, layer.name, ": at a score of 0 the experts have weight 0, and ",
            "the router has no bias to raise it: take router = \"mlp\", or one with a bias");
    layer.constant = static_cast<double>(layer.parts) / found[layer.name].pairs_of_a_token;
    (**last.bias).fill_(layer.constant);
  }
  found = combine_weights(model);
  for (UpcycledLayer& layer : layers) {
    const double sum = found[layer.name].sum();
    require(sum > 0, layer.name, ": the combine weights sum to ", sum,
            " for a router of equal scores, so that no scale makes the experts the dense MLP");
    const double scale = static_cast<double>(layer.parts) / sum;
    if (std::abs(scale - 1) < 1e-5) continue;  // the rounding of a softmax
    layer.out_scale = scale;
    for (const char* name : {".experts.fc2.weight", ".experts.fc2.bias"})
      (**model.find_parameter(layer.name + name)).mul_(scale);
  }
}

// One row of the router's own first values a copy, so that tokens tell the copies apart; without
// their mean, so that a pool of several tokens prefers none.
void add_noise(Denoiser& model, const UpcycledLayer& layer, const at::Tensor& first_values,
               double noise) {
  if (layer.copies == 1) return;
  at::Tensor rows = first_values.narrow(0, 0, layer.copies);
  rows = rows.sub(rows.mean(0, /*keepdim=*/true));
  const double spread = rows.square().mean().sqrt().item<double>();
  if (spread == 0 || noise == 0) return;
  const double wanted = noise * (layer.constant == 0 ? 1 : layer.constant) /
                        std::sqrt(static_cast<double>(rows.size(1)));
  const LastLayer last(model, layer.name);
  (**last.weight).copy_(rows.mul(wanted / spread).repeat_interleave(layer.parts, 0));
}

}  // namespace

Upcycled upcycle(Denoiser& model, std::map<std::string, at::Tensor> dense, double router_noise) {
  require(std::isfinite(router_noise) && router_noise >= 0, "a router noise of ", router_noise,
          " is no spread: give 0 or more");
  const at::NoGradGuard no_grad;
  Upcycled result;
  std::map<std::string, at::Tensor> first_values;
  for (const nn::Parameter* parameter : model.parameters()) {
    std::string name = parameter->name();
    if (!name.ends_with(kFirstLayer)) continue;
    name.resize(name.size() - kFirstLayer.size() - std::string_view("moe").size());
    result.layers.push_back(replace_mlp(model, name, dense));
    const LastLayer last(model, name + "moe");
    if (last.weight) first_values[name + "moe"] = (**last.weight).clone();
  }
  require(!result.layers.empty(), "the recipe's model (", model.summary(),
          ") has no sparse layer of experts of kind \"mlp\": nothing to upcycle to");
  result.fresh = fill(model, dense);
  set_constants(model, result.layers);
  for (const UpcycledLayer& layer : result.layers) {
    const auto values = first_values.find(layer.name);
    if (values != first_values.end()) add_noise(model, layer, values->second, router_noise);
  }
  return result;
}

}  // namespace gallop::models
