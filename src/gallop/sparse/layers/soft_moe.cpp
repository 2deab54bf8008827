#include "gallop/sparse/layers/soft_moe.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>

#include "gallop/config/registry.h"

namespace gallop::sparse {

void SoftMoeSettings::fields(config::Visitor& v) {
  v.field("experts", experts, "experts E", config::at_least(1));
  v.field("slots", slots, "mixed tokens that each expert works on", config::at_least(1));
  v.field("hidden", hidden, "width of one expert; absent: 4*width", config::at_least(1));
  v.component("expert", kind_of_experts, "what runs on the slots");
}

SoftMoe::SoftMoe(const SoftMoeSettings& settings, const Args& args)
    : FeedForward(*args.parent, "moe"),
      slots_(settings.slots),
      phi_(*this, "phi.weight", {args.D, settings.experts, settings.slots},
           nn::Init::xavier_uniform(args.D, settings.experts * settings.slots),
           {.role = nn::Role::router}),
      experts_(
          config::make<Experts>(settings.kind_of_experts,
                                {.parent = this,
                                 .D = args.D,
                                 .experts = settings.experts,
                                 .hidden = settings.hidden.value_or(4 * args.D),
                                 // E*slots runs of an expert for L tokens.
                                 .active = static_cast<double>(settings.experts * settings.slots) /
                                           static_cast<double>(args.tokens),
                                 .routed = false})) {}

SoftMoe::Mixing SoftMoe::mixing(const at::Tensor& x_BLD) const {
  const int64_t B = x_BLD.size(0), L = x_BLD.size(1), E = phi_.shape()[1];
  const at::Tensor logits_BLS = x_BLD.matmul(phi_->flatten(1));  // S = E * slots
  const auto by_expert = [&](const at::Tensor& share_BLS) {
    return share_BLS.reshape({B, L, E, slots_});
  };
  return {.dispatch_BLES = by_expert(logits_BLS.softmax(1)),
          .combine_BLES = by_expert(logits_BLS.softmax(2))};
}

at::Tensor SoftMoe::forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const {
  const int64_t B = x_BLD.size(0), D = x_BLD.size(2), E = phi_.shape()[1];
  const auto [dispatch, combine] = mixing(x_BLD);
  const at::Tensor slots_BSD = dispatch.flatten(2).transpose(1, 2).matmul(x_BLD);

  // Sorted by expert, every slot is a pair of its own expert with weight 1.
  const at::Tensor slots_PD =
      slots_BSD.reshape({B, E, slots_, D}).transpose(0, 1).reshape({E * B * slots_, D});
  const int64_t P = E * B * slots_;
  const Pairs own =
      Pairs::of_runs({.samples = 1, .tokens = P, .candidates = E},
                     at::arange(P, at::TensorOptions(at::kLong).device(x_BLD.device())),
                     at::arange(E + 1, at::TensorOptions(at::kLong)).mul(B * slots_));
  const Kept pairs(own, at::ones({P}, x_BLD.options()));
  const at::Tensor out_BSD = experts_->forward(slots_PD, pairs, ctx)
                                 .reshape({E, B, slots_, D})
                                 .transpose(0, 1)
                                 .reshape({B, E * slots_, D});
  return combine.flatten(2).matmul(out_BSD);  // [B, L, D]
}

nn::Activations SoftMoe::activations(double tokens) const {
  const double uses = phi_.attributes().uses;
  const auto D = static_cast<double>(phi_.shape()[0]),
             slots = static_cast<double>(phi_.shape()[1] * phi_.shape()[2]);
  return {.kept = uses * (tokens * (D + 3 * slots) + 2 * slots * D),
          .passing = uses * (2 * tokens * slots + slots * D)};
}

namespace {

const config::RegisterKind<nn::FeedForward, SoftMoe, SoftMoeSettings> registered{
    "soft_moe", "experts on slots, each a mixture of all tokens of a sample",
    "Soft MoE, arXiv 2308.00951"};

}  // namespace
}  // namespace gallop::sparse
