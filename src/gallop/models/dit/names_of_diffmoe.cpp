#include "gallop/config/registry.h"
#include "gallop/models/name_adapter.h"

namespace gallop::models {
namespace {

const config::Register<NameAdapter, config::NoSettings> registered{
    "diffmoe", "checkpoints of KwaiVGI/DiffMoE, its EC-DiT included: one module an expert",
    "DiffMoE, arXiv 2503.14487", [](const auto&, const auto&) {
      return std::make_unique<NameRules>(std::vector<NameRules::Rule>{
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
          {"mlp.ema_decay", ""}});
    }};

}  // namespace
}  // namespace gallop::models
