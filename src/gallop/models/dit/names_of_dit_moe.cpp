#include "gallop/config/registry.h"
#include "gallop/models/name_adapter.h"

namespace gallop::models {
namespace {

const config::Register<NameAdapter, config::NoSettings> registered{
    "dit-moe", "checkpoints of feizc/DiT-MoE: one module an expert", "DiT-MoE, arXiv 2407.11633",
    [](const auto&, const auto&) {
      return std::make_unique<NameRules>(std::vector<NameRules::Rule>{
          {"moe.gate.weight", "moe.router.gate.weight"},
          {"moe.experts.#.gate_proj.weight", "moe.experts.gate.weight"},
          {"moe.experts.#.up_proj.weight", "moe.experts.up.weight"},
          {"moe.experts.#.down_proj.weight", "moe.experts.down.weight"},
          {"moe.shared_experts.gate_proj.weight", "moe.shared.gate.weight", true},
          {"moe.shared_experts.up_proj.weight", "moe.shared.up.weight", true},
          {"moe.shared_experts.down_proj.weight", "moe.shared.down.weight", true}});
    }};

}  // namespace
}  // namespace gallop::models
