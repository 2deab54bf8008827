#include <optional>

#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/sparse/experts/grouped.h"

namespace gallop::sparse {
namespace {

struct GluSettings : config::Fields<GluSettings> {
  std::string activation = "silu";
  bool bias = false;
  void fields(config::Visitor& v) override {
    v.field("activation", activation, "of the gate: silu gives SwiGLU", activations());
    v.field("bias", bias, "add a bias after each of the three layers");
  }
};

// One matrix an expert, with its bias.
class GroupedLinear : public nn::Module {
 public:
  GroupedLinear(nn::Module& parent, const char* name, int64_t in, int64_t out, bool bias,
                const Experts::Args& args)
      : Module(parent, name),
        weight_(*this, "weight", {args.experts, out, in}, nn::Init::xavier_uniform(in, out),
                expert_attributes(args)) {
    if (!bias) return;
    bias_.emplace(*this, "bias", std::vector<int64_t>{args.experts, out}, nn::Init::zeros(),
                  nn::of_bias(expert_attributes(args)));
  }
  at::Tensor forward(const at::Tensor& x_PI, const Kept& pairs) const {
    return grouped_linear(x_PI, pairs, *weight_, bias_ ? **bias_ : at::Tensor());
  }
  at::Tensor mean_rows() const { return weight_->mean(1); }
  const nn::Parameter& weight() const { return weight_; }
  nn::Activations activations(double) const override { return {}; }  // its owner counts

 private:
  nn::Parameter weight_;
  std::optional<nn::Parameter> bias_;
};

// E_e(x) = Down_e(act(Gate_e x) * Up_e x).
class GluExperts : public Experts {
 public:
  GluExperts(const GluSettings& settings, const Args& args)
      : Experts(*args.parent, args.name),
        activation_(settings.activation),
        gate_(*this, "gate", args.D, args.hidden, settings.bias, args),
        up_(*this, "up", args.D, args.hidden, settings.bias, args),
        down_(*this, "down", args.hidden, args.D, settings.bias, args) {}

  at::Tensor forward(const at::Tensor& x_TD, const Kept& pairs,
                     const nn::ForwardContext&) const override {
    const at::Tensor x_PD = x_TD.index_select(0, pairs.token_P());
    const at::Tensor hidden_PH =
        activate(gate_.forward(x_PD, pairs), activation_).mul(up_.forward(x_PD, pairs));
    return combine(down_.forward(hidden_PH, pairs), pairs, x_TD);
  }

  at::Tensor keys_ED() const override { return gate_.mean_rows(); }

  // Rows of pairs before and after the three layers, and around activation and product.
  nn::Activations activations(double tokens) const override {
    const auto [pairs, D, H] = used_by(gate_.weight(), tokens);
    const double T = tokens * gate_.weight().attributes().uses;
    return {.kept = pairs * (2 * D + 4 * H) + T * D, .passing = pairs * (2 * D + 6 * H)};
  }

 private:
  std::string activation_;
  GroupedLinear gate_, up_, down_;
};

const config::RegisterKind<Experts, GluExperts, GluSettings> registered{
    "glu", "gated linear units (SwiGLU by default), grouped by expert",
    "Shazeer, arXiv 2002.05202; DiT-MoE, arXiv 2407.11633"};

}  // namespace
}  // namespace gallop::sparse
