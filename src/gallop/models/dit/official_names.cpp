#include "gallop/models/dit/official_names.h"

#include <ATen/ops/stack.h>

#include <string_view>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/number.h"

namespace gallop::models {

namespace {

// `#` is the number of an expert. The official code has one shared module, here it is a stack.
struct Rule {
  std::string_view official, ours;
  bool shared = false;
};

constexpr Rule kRules[] = {
    {"moe.gate.weight", "moe.router.gate.weight"},
    {"moe.experts.#.gate_proj.weight", "moe.experts.gate.weight"},
    {"moe.experts.#.up_proj.weight", "moe.experts.up.weight"},
    {"moe.experts.#.down_proj.weight", "moe.experts.down.weight"},
    {"moe.shared_experts.gate_proj.weight", "moe.shared.gate.weight", true},
    {"moe.shared_experts.up_proj.weight", "moe.shared.up.weight", true},
    {"moe.shared_experts.down_proj.weight", "moe.shared.down.weight", true},
    {"mlp.gate_weight", "moe.router.gate.weight"},
    {"mlp.experts.#.fc1.weight", "moe.experts.fc1.weight"},
    {"mlp.experts.#.fc1.bias", "moe.experts.fc1.bias"},
    {"mlp.experts.#.fc2.weight", "moe.experts.fc2.weight"},
    {"mlp.experts.#.fc2.bias", "moe.experts.fc2.bias"},
    {"mlp.shared_experts.fc1.weight", "moe.shared.fc1.weight", true},
    {"mlp.shared_experts.fc1.bias", "moe.shared.fc1.bias", true},
    {"mlp.shared_experts.fc2.weight", "moe.shared.fc2.weight", true},
    {"mlp.shared_experts.fc2.bias", "moe.shared.fc2.bias", true},
    {"mlp.capacity_predictor.0.weight", "moe.router.capacity.0.weight"},
    {"mlp.capacity_predictor.0.bias", "moe.router.capacity.0.bias"},
    {"mlp.capacity_predictor.2.weight", "moe.router.capacity.2.weight"},
    {"mlp.capacity_predictor.2.bias", "moe.router.capacity.2.bias"},
    {"mlp.expert_threshold", "moe.router.threshold"},
    {"mlp.ema_decay", ""},
};

std::optional<OurName> translate(const Rule& rule, std::string_view name) {
  const size_t hash = rule.official.find('#');
  const std::string_view head = rule.official.substr(0, hash);
  std::optional<int64_t> expert;
  if (rule.shared) expert = 0;
  if (hash != std::string_view::npos) {
    const std::string_view tail = rule.official.substr(hash + 1);
    if (!name.ends_with(tail)) return std::nullopt;
    name.remove_suffix(tail.size());
    const std::string_view digits = name.substr(name.find_last_not_of("0123456789") + 1);
    expert = whole_number<int64_t>(digits);
    if (!expert) return std::nullopt;
    name.remove_suffix(digits.size());
  }
  if (!name.ends_with(head)) return std::nullopt;
  name.remove_suffix(head.size());
  if (!name.empty() && name.back() != '.') return std::nullopt;
  const std::string prefix = rule.ours.empty() ? "" : std::string(name);
  return OurName{prefix + std::string(rule.ours), expert};
}

at::Tensor stack(const std::string& name, const std::map<int64_t, at::Tensor>& experts) {
  const int64_t last = experts.rbegin()->first;
  require(last + 1 == static_cast<int64_t>(experts.size()), name, ": the weights have ",
          experts.size(), " experts, and the last one is number ", last,
          ": some are missing from the file");
  std::vector<at::Tensor> rows;
  for (const auto& [expert, tensor] : experts) {
    const at::Tensor& first = experts.begin()->second;
    require(tensor.sizes() == first.sizes(), name, ": expert ", expert, " has the shape ",
            tensor.sizes(), ", and expert 0 ", first.sizes());
    rows.push_back(tensor);
  }
  return at::stack(rows);
}

}  // namespace

std::optional<OurName> our_name(const std::string& official) {
  for (const Rule& rule : kRules) {
    if (auto found = translate(rule, official)) return found;
  }
  return std::nullopt;
}

std::map<std::string, at::Tensor> with_our_names(std::map<std::string, at::Tensor> tensors) {
  std::map<std::string, at::Tensor> ours;
  std::map<std::string, std::map<int64_t, at::Tensor>> experts;
  const auto add = [&](const std::string& name, at::Tensor tensor) {
    require(ours.emplace(name, std::move(tensor)).second, name,
            " is in the weights twice, once under an official name");
  };
  for (auto& [name, tensor] : tensors) {
    const auto found = our_name(name);
    if (found && found->expert) {
      const auto added = experts[found->name].emplace(*found->expert, std::move(tensor));
      require(added.second, found->name, ": expert ", *found->expert, " is in the weights twice");
    } else if (!found || !found->name.empty()) {
      add(found ? found->name : name, std::move(tensor));
    }
  }
  tensors.clear();
  while (!experts.empty()) {
    const auto layer = experts.extract(experts.begin());  // each is let go once it is stacked
    add(layer.key(), stack(layer.key(), layer.mapped()));
  }
  return ours;
}

}  // namespace gallop::models
