#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/sparse/experts/grouped.h"

namespace gallop::sparse {
namespace {

struct WithNullSettings : config::Fields<WithNullSettings> {
  config::Component real{"experts", "mlp"};
  int64_t zeros = 1, identities = 0;
  void fields(config::Visitor& v) override {
    v.component("real", real, "the first of the candidates");
    v.field("zeros", zeros, "candidates after them that give 0", config::at_least(0));
    v.field("identities", identities, "candidates after those that give the token back",
            config::at_least(0));
  }
};

// Experts that cost nothing: a token that spends a choice on one uses fewer of the others.
class WithNullExperts : public Experts {
 public:
  WithNullExperts(const WithNullSettings& settings, const Args& args)
      : Experts(*args.parent, ""),
        real_count_(args.experts - settings.zeros - settings.identities),
        identities_(settings.identities) {
    require(real_count_ >= 1, args.parent->name(), ": of ", args.experts, " experts ",
            settings.zeros, " zeros and ", settings.identities, " identities leave no real one");
    Args real = args;
    real.experts = real_count_;
    // An even share of the choices falls on the real ones.
    real.active =
        args.active * static_cast<double>(real_count_) / static_cast<double>(args.experts);
    real_ = config::make<Experts>(settings.real, real);
  }

  at::Tensor forward(const at::Tensor& x_TD, const Kept& pairs,
                     const nn::ForwardContext& ctx) const override {
    const at::Tensor y_TD = real_->forward(x_TD, some_experts(pairs, 0, real_count_), ctx);
    if (identities_ == 0) return y_TD;
    const Kept same = some_experts(pairs, pairs.candidates() - identities_, identities_);
    return y_TD.add(combine(x_TD.index_select(0, same.token_P()), same, x_TD));
  }

 private:
  int64_t real_count_, identities_;
  std::unique_ptr<Experts> real_;
};

const config::RegisterKind<Experts, WithNullExperts, WithNullSettings> registered{
    "with_null", "another kind, and candidates that give 0 or the token itself",
    "MoE++, arXiv 2410.07348"};

}  // namespace
}  // namespace gallop::sparse
