#include <ATen/ops/zeros_like.h>

#include "gallop/config/registry.h"
#include "gallop/sparse/layers/experts.h"

namespace gallop::sparse {
namespace {

// E_e(x) = x * scale_e, elementwise: about the smallest expert there is.
class ScaleExperts : public Experts {
 public:
  explicit ScaleExperts(const Args& args)
      : Experts(*args.parent, "experts"),
        scale_(*this, "scale", {args.experts, args.D}, nn::Init::constant(1),
               {.decay = false, .share_used = args.active / static_cast<double>(args.experts)}) {}

  at::Tensor forward(const at::Tensor& x_TD, const Kept& pairs,
                     const nn::ForwardContext&) const override {
    const at::Tensor expert_P = pairs.candidate_P();
    const at::Tensor y_PD = x_TD.index_select(0, pairs.token_P())
                                .mul(scale_->index_select(0, expert_P))
                                .mul(pairs.weights_P.unsqueeze(1));
    return at::zeros_like(x_TD).index_add(0, pairs.token_P(), y_PD);  // [T, D]
  }

 private:
  nn::Parameter scale_;
};

const config::RegisterKind<Experts, ScaleExperts> registered{"scale", "one factor a channel",
                                                             "an example"};

}  // namespace
}  // namespace gallop::sparse
