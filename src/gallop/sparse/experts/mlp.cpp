#include <ATen/ops/zeros.h>

#include <optional>

#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/ops/grouped_mlp.h"
#include "gallop/sparse/experts/grouped.h"

namespace gallop::sparse {
namespace {

struct MlpSettings : config::Fields<MlpSettings> {
  std::string activation = "gelu";
  bool bias = true;
  void fields(config::Visitor& v) override {
    v.field("activation", activation, "between the layers; gelu has a fused kernel", activations());
    v.field("bias", bias, "add a bias after each layer");
  }
};

// E_e(x) = W2_e act(W1_e x + b1_e) + b2_e, all experts of one width.
class MlpExperts : public Experts {
 public:
  MlpExperts(const MlpSettings& settings, const Args& args)
      : Experts(*args.parent, args.name),
        activation_(settings.activation),
        fc1_weight_(*this, "fc1.weight", {args.experts, args.hidden, args.D},
                    nn::Init::xavier_uniform(args.D, args.hidden), expert_attributes(args)) {
    const nn::Attributes of_biases = nn::of_bias(expert_attributes(args));
    const auto bias = [&](std::optional<nn::Parameter>& into, const char* name, int64_t width) {
      if (!settings.bias) return;
      into.emplace(*this, name, std::vector<int64_t>{args.experts, width}, nn::Init::zeros(),
                   of_biases);
    };
    bias(fc1_bias_, "fc1.bias", args.hidden);
    fc2_weight_.emplace(*this, "fc2.weight",
                        std::vector<int64_t>{args.experts, args.D, args.hidden},
                        nn::Init::xavier_uniform(args.hidden, args.D), expert_attributes(args));
    bias(fc2_bias_, "fc2.bias", args.D);
  }

  at::Tensor forward(const at::Tensor& x_TD, const Kept& pairs,
                     const nn::ForwardContext&) const override {
    const at::Tensor &w1 = *fc1_weight_, &w2 = **fc2_weight_;
    const auto bias = [](const std::optional<nn::Parameter>& given) {
      return given ? **given : at::Tensor();
    };
    if (activation_ == "gelu") {
      const auto or_zero = [](const at::Tensor& b, const at::Tensor& w) {
        return b.defined() ? b : at::zeros({w.size(0), w.size(1)}, w.options());
      };
      return ops::grouped_mlp(x_TD, pairs.offsets(), pairs.token_P(), pairs.weights_P,
                              {w1, or_zero(bias(fc1_bias_), w1), w2, or_zero(bias(fc2_bias_), w2)});
    }
    const at::Tensor hidden_PH =
        activate(grouped_linear(x_TD.index_select(0, pairs.token_P()), pairs, w1, bias(fc1_bias_)),
                 activation_);
    return combine(grouped_linear(hidden_PH, pairs, w2, bias(fc2_bias_)), pairs, x_TD);
  }

  at::Tensor keys_ED() const override { return fc1_weight_->mean(1); }

  // The fused kernel keeps what goes into the activation, and no pair's row twice.
  nn::Activations activations(double tokens) const override {
    const auto [pairs, D, H] = used_by(fc1_weight_, tokens);
    const double T = tokens * fc1_weight_.attributes().uses;
    if (activation_ == "gelu") {
      return {.kept = pairs * H + T * D, .passing = pairs * (2 * H + D) + T * D};
    }
    return {.kept = pairs * 2 * (D + H) + T * D, .passing = pairs * (D + 2 * H)};
  }

 private:
  std::string activation_;
  nn::Parameter fc1_weight_;
  std::optional<nn::Parameter> fc1_bias_, fc2_weight_, fc2_bias_;
};

const config::RegisterKind<Experts, MlpExperts, MlpSettings> registered{
    "mlp", "two-layer MLPs, grouped by expert; tanh GELU and biases by default",
    "Expert Race, arXiv 2503.16057"};

}  // namespace
}  // namespace gallop::sparse
