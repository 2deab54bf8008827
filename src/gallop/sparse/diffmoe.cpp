#include "gallop/sparse/diffmoe.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/silu.h>

#include <tuple>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/ops/topk_mask.h"
#include "gallop/sparse/pooled_selection.h"
#include "gallop/sparse/threshold.h"

namespace gallop::sparse {

void DiffMoeSettings::fields(config::Visitor& v) {
  v.field("experts", experts, "experts E", config::between(1, 1 << 20));
  v.field("active", active, "experts a training token uses on average, the capacity",
          config::positive());
  v.field("hidden", hidden, "width of one expert; absent: 4*width", config::at_least(1));
  v.field("momentum", momentum, "momentum of the thresholds' moving average",
          config::between(0, 1));
  v.component("router", router, "from a token to its scores");
  v.component("expert", kind_of_experts, "what runs on the kept pairs");
  v.table("losses", losses, "losses that read the routing; capacity trains the predictor");
}

void DiffMoeSettings::validate() const {
  require(active <= static_cast<double>(experts), "mlp: ", active, " active experts of ", experts,
          ": a token cannot use more experts than there are");
}

DiffMoe::DiffMoe(const DiffMoeSettings& settings, const Args& args)
    : FeedForward(*args.parent, "moe"),
      active_(settings.active),
      momentum_(settings.momentum),
      losses_(make_losses(settings.losses, {.layers = args.layers})),
      router_(config::make<Router>(settings.router,
                                   {.parent = this, .D = args.D, .experts = settings.experts})),
      capacity_in_(*this, "router.capacity.0", args.D, args.D),
      capacity_out_(*this, "router.capacity.2", args.D, settings.experts),
      threshold_(*this, "router.threshold", {settings.experts}, nn::Init::zeros(),
                 {.decay = false, .buffer = true}),
      experts_(config::make<Experts>(settings.kind_of_experts,
                                     {.parent = this,
                                      .D = args.D,
                                      .experts = settings.experts,
                                      .hidden = settings.hidden.value_or(4 * args.D),
                                      .active = settings.active})) {
  for (const auto& loss : losses_) {
    require(!loss->needs_head(), name(), ": losses.", loss->kind(),
            " needs a router with a head, which this layer does not have");
  }
  router_->bind(*experts_);
}

at::Tensor DiffMoe::predict(const at::Tensor& x_BLD) const {
  return capacity_out_.forward(at::silu(capacity_in_.forward(x_BLD.detach())));
}

at::Tensor DiffMoe::taken_in_training(const at::Tensor& gate_ET) const {
  return ops::topk_mask(gate_ET, kept_of_pool(active_, gate_ET.size(1), gate_ET.size(0))).mask_RN;
}

at::Tensor DiffMoe::taken_at_inference(const at::Tensor& gate_ET,
                                       const at::Tensor& predicted_ET) const {
  const at::Tensor count_E1 = predicted_ET.gt(threshold_->unsqueeze(1)).sum(1, /*keepdim=*/true);
  // The rank of each token among those of an expert, equal ones by their number.
  const at::Tensor rank_ET =
      gate_ET.argsort(/*stable=*/true, /*dim=*/1, /*descending=*/true).argsort(int64_t{1});
  return rank_ET.lt(count_E1);
}

PendingUpdate DiffMoe::threshold_step(const at::Tensor& predicted_ET, int64_t K) const {
  const at::Tensor kappa_E = std::get<0>(predicted_ET.topk(K, 1)).select(1, K - 1);
  return {[tau = *threshold_, kappa_E, momentum = momentum_](int64_t) {
    update_threshold(tau, kappa_E, momentum);
  }};
}

at::Tensor DiffMoe::forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const {
  Routed routed = router_->forward(x_BLD, ctx);  // [B, L, E]
  const at::Tensor gate_BLE = routed.logits_BLE.softmax(-1), capacity_BLE = predict(x_BLD);

  at::Tensor mask_BLE;
  std::vector<PendingUpdate> pending;
  {
    const at::NoGradGuard no_grad;
    const auto by_expert = [](const at::Tensor& x) { return x.flatten(0, 1).t().contiguous(); };
    const at::Tensor gate_ET = by_expert(gate_BLE);
    const at::Tensor predicted_ET = by_expert(capacity_BLE).sigmoid();
    const at::Tensor mask_ET =
        ctx.training ? taken_in_training(gate_ET) : taken_at_inference(gate_ET, predicted_ET);
    mask_BLE = mask_ET.t().reshape(gate_BLE.sizes());
    const int64_t K = kept_of_pool(active_, gate_ET.size(1), gate_ET.size(0));
    if (ctx.training && K > 0) pending.push_back(threshold_step(predicted_ET, K));
  }

  const Assignment assignment = make_assignment(mask_BLE, gate_BLE);
  const at::Tensor y_TD = experts_->forward(x_BLD.flatten(0, 1), assignment, ctx);
  if (ctx.routing != nullptr) {
    routed.extras["capacity"] = capacity_BLE;
    ctx.routing->push_back({.layer = name(),
                            .active = active_,
                            .logits_BLE = routed.logits_BLE,
                            .gate_BLE = gate_BLE,
                            .mask_BLE = mask_BLE,
                            .chosen_BLE = mask_BLE,
                            .assignment = assignment,
                            .x_BLD = x_BLD,
                            .label_B = ctx.label_B,
                            .timestep_B = ctx.timestep_B,
                            .extras = std::move(routed.extras),
                            .losses = &losses_,
                            .pending = std::move(pending)});
  }
  return y_TD.reshape(x_BLD.sizes());
}

namespace {

const config::Register<nn::FeedForward, DiffMoeSettings> registered{
    "diffmoe", "experts take from the whole batch; a predictor says how many at inference",
    "DiffMoE, arXiv 2503.14487",
    [](const DiffMoeSettings& settings, const nn::FeedForward::Args& args) {
      return std::make_unique<DiffMoe>(settings, args);
    }};

}  // namespace
}  // namespace gallop::sparse
