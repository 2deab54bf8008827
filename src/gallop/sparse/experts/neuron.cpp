#include "gallop/config/registry.h"
#include "gallop/sparse/experts/grouped.h"

namespace gallop::sparse {
namespace {

struct NeuronSettings : config::Fields<NeuronSettings> {
  std::string activation = "gelu";
  void fields(config::Visitor& v) override {
    v.field("activation", activation, "of the neuron", activations());
  }
};

// E_e(x) = act(u_e . x) v_e: the finest expert there is. mlp.hidden says nothing here.
class NeuronExperts : public Experts {
 public:
  NeuronExperts(const NeuronSettings& settings, const Args& args)
      : Experts(*args.parent, args.name),
        activation_(settings.activation),
        in_(*this, "in.weight", {args.experts, args.D}, nn::Init::xavier_uniform(args.D, 1),
            expert_attributes(args)),
        out_(*this, "out.weight", {args.experts, args.D}, nn::Init::xavier_uniform(1, args.D),
             expert_attributes(args)) {}

  at::Tensor forward(const at::Tensor& x_TD, const Kept& pairs,
                     const nn::ForwardContext&) const override {
    const at::Tensor& expert_P = pairs.candidate_P();
    const at::Tensor dot_P1 = x_TD.index_select(0, pairs.token_P())
                                  .mul(in_->index_select(0, expert_P))
                                  .sum(1, /*keepdim=*/true);
    return combine(activate(dot_P1, activation_).mul(out_->index_select(0, expert_P)), pairs, x_TD);
  }

  at::Tensor keys_ED() const override { return *in_; }

  // The token's row, both rows of the neuron and what comes out, of each pair.
  nn::Activations activations(double tokens) const override {
    const nn::Attributes& attributes = in_.attributes();
    const auto E = static_cast<double>(in_.shape()[0]), D = static_cast<double>(in_.shape()[1]);
    const double T = tokens * attributes.uses, pairs = T * attributes.share_used * E;
    return {.kept = pairs * 4 * D + T * D, .passing = pairs * 3 * D};
  }

 private:
  std::string activation_;
  nn::Parameter in_, out_;
};

const config::RegisterKind<Experts, NeuronExperts, NeuronSettings> registered{
    "neuron", "single neurons: act(u x) v", "PEER, arXiv 2407.04153"};

}  // namespace
}  // namespace gallop::sparse
