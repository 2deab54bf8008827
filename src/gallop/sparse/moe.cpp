#include "gallop/sparse/moe.h"

#include <charconv>
#include <cmath>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"

namespace gallop::sparse {

void MoeSettings::fields(config::Visitor& v) {
  v.field("setting", setting, "short for experts and active: \"k-in-E\", for example \"4-in-32\"");
  v.field("experts", experts, "candidates E a token chooses from", config::between(1, 1 << 20));
  v.field("active", active,
          "experts k a token uses on average; fractional where the selection allows it",
          config::positive());
  v.field("split", split, "hidden split: an expert is 4*width/split wide; absent: k, rounded up",
          config::at_least(1));
  v.field("hidden", hidden, "width of one expert; absent: 4*width/split", config::at_least(1));
  v.component("router", router, "from a token to its scores");
  v.component("gate", gate, "from scores to combine weights");
  v.component("selection", selection, "which (token, expert) pairs are kept");
  v.component("expert", kind_of_experts, "what runs on the kept pairs");
  v.table("losses", losses, "losses that read the routing");
}

void MoeSettings::validate() const { sizes(1 << 20); }

MoeSettings::Sizes MoeSettings::sizes(int64_t D) const {
  Sizes sizes{.experts = experts, .hidden = 0, .active = active};
  if (!setting.empty()) {
    const size_t middle = setting.find("-in-");
    const char* end = setting.data() + setting.size();
    bool ok = middle != std::string::npos;
    if (ok) {
      const char* k_end = setting.data() + middle;
      ok = std::from_chars(setting.data(), k_end, sizes.active).ptr == k_end &&
           std::from_chars(k_end + 4, end, sizes.experts).ptr == end && sizes.active > 0 &&
           sizes.experts > 0;
    }
    require(ok, "mlp.setting = \"", setting,
            "\" is not of the form \"k-in-E\", for example \"4-in-32\"");
  }
  require(sizes.active <= static_cast<double>(sizes.experts), "mlp: ", sizes.active,
          " active experts of ", sizes.experts, ": a token cannot use more experts than there are");
  const int64_t parts = split.value_or(static_cast<int64_t>(std::ceil(sizes.active)));
  require(hidden || (4 * D) % parts == 0, "mlp: the hidden width 4*", D,
          " is not divisible by the split ", parts, "; give mlp.hidden or another mlp.split");
  sizes.hidden = hidden.value_or(4 * D / parts);
  return sizes;
}

Moe::Moe(const MoeSettings& settings, const Args& args)
    : FeedForward(*args.parent, "moe"),
      active_(settings.sizes(args.D).active),
      losses_(make_losses(settings.losses, {.layers = args.layers})),
      gate_(config::make<Gate>(settings.gate, {})) {
  const auto [E, H, k] = settings.sizes(args.D);
  bool head = false;
  for (const auto& loss : losses_) head = head || loss->needs_head();
  router_ = config::make<Router>(
      settings.router,
      {.parent = this, .D = args.D, .experts = E, .target_width = head ? args.target_width : 0});
  selection_ = config::make<Selection>(
      settings.selection, {.parent = this, .experts = E, .tokens = args.tokens, .active = k});
  experts_ =
      config::make<Experts>(settings.kind_of_experts,
                            {.parent = this, .D = args.D, .experts = E, .hidden = H, .active = k});
}

at::Tensor Moe::forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const {
  const Routed routed = router_->forward(x_BLD, ctx);  // [B, L, E]
  const Scores scores = gate_->scores(routed.logits_BLE);
  Selected selected = selection_->select(scores, ctx);  // bool [B, L, E]
  const Assignment assignment = make_assignment(selected.mask_BLE, scores.gate_BLE);
  const at::Tensor y_TD =
      experts_->forward(x_BLD.reshape({-1, x_BLD.size(-1)}), assignment, ctx);  // [T, D]
  if (ctx.routing != nullptr) {
    ctx.routing->push_back({.layer = name(),
                            .active = active_,
                            .logits_BLE = scores.logits_BLE,
                            .gate_BLE = scores.gate_BLE,
                            .mask_BLE = selected.mask_BLE,
                            .head_BLH = routed.head_BLH,
                            .kappa = selected.kappa,
                            .assignment = assignment,
                            .losses = &losses_,
                            .pending = std::move(selected.pending),
                            .selection = selection_.get()});
  }
  return y_TD.reshape(x_BLD.sizes());
}

namespace {

const config::Register<nn::FeedForward, MoeSettings> registered{
    "moe", "router, gate, selection and experts", "Expert Race, arXiv 2503.16057, and its rivals",
    [](const MoeSettings& settings, const nn::FeedForward::Args& args) {
      return std::make_unique<Moe>(settings, args);
    }};

}  // namespace
}  // namespace gallop::sparse
