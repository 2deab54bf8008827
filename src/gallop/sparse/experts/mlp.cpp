#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/ops/grouped_mlp.h"
#include "gallop/sparse/experts.h"

namespace gallop::sparse {
namespace {

nn::Attributes expert_attributes(const Experts::Args& args) {
  return {.active = args.active / static_cast<double>(args.experts)};
}

// E_e(x) = W2_e gelu_tanh(W1_e x + b1_e) + b2_e, all experts of one width.
class MlpExperts : public Experts {
 public:
  explicit MlpExperts(const Args& args)
      : Experts(*args.parent, "experts"),
        fc1_weight_(*this, "fc1.weight", {args.experts, args.hidden, args.D},
                    nn::Init::xavier_uniform(args.D, args.hidden), expert_attributes(args)),
        fc1_bias_(*this, "fc1.bias", {args.experts, args.hidden}, nn::Init::zeros(),
                  nn::without_decay(expert_attributes(args))),
        fc2_weight_(*this, "fc2.weight", {args.experts, args.D, args.hidden},
                    nn::Init::xavier_uniform(args.hidden, args.D), expert_attributes(args)),
        fc2_bias_(*this, "fc2.bias", {args.experts, args.D}, nn::Init::zeros(),
                  nn::without_decay(expert_attributes(args))) {}

  at::Tensor forward(const at::Tensor& x_TD, const Assignment& assignment,
                     const nn::ForwardContext&) const override {
    return ops::grouped_mlp(x_TD, assignment.offsets, assignment.tokens, assignment.weights,
                            {*fc1_weight_, *fc1_bias_, *fc2_weight_, *fc2_bias_});
  }

 private:
  nn::Parameter fc1_weight_, fc1_bias_, fc2_weight_, fc2_bias_;
};

const config::Register<Experts, config::NoSettings> registered{
    "mlp", "two-layer tanh-GELU MLPs with biases, grouped by expert",
    "Expert Race, arXiv 2503.16057",
    [](const auto&, const Experts::Args& args) { return std::make_unique<MlpExperts>(args); }};

}  // namespace
}  // namespace gallop::sparse
