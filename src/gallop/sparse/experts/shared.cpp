#include <optional>

#include "gallop/config/registry.h"
#include "gallop/sparse/experts/grouped.h"

namespace gallop::sparse {
namespace {

struct SharedSettings : config::Fields<SharedSettings> {
  config::Component routed{"experts", "mlp"}, shared{"experts", "mlp"};
  int64_t count = 1;
  std::optional<int64_t> hidden;
  void fields(config::Visitor& v) override {
    v.component("routed", routed, "the experts that tokens choose from");
    v.component("shared", shared, "the experts that all tokens use, with weight 1");
    v.field("count", count, "how many of those", config::at_least(1));
    v.field("hidden", hidden, "width of one of those; absent: that of the routed ones",
            config::at_least(1));
  }
};

// y = sum over a token's pairs + sum over the shared experts.
class SharedExperts : public Experts {
 public:
  SharedExperts(const SharedSettings& settings, const Args& args)
      : Experts(*args.parent, ""),
        count_(settings.count),
        routed_(config::make<Experts>(settings.routed, args)) {
    Args shared = args;
    shared.experts = settings.count;
    shared.active = static_cast<double>(settings.count);
    shared.routed = false;
    shared.hidden = settings.hidden.value_or(args.hidden);
    shared.name = "shared";
    shared_ = config::make<Experts>(settings.shared, shared);
  }

  at::Tensor forward(const at::Tensor& x_TD, const Kept& pairs,
                     const nn::ForwardContext& ctx) const override {
    return routed_->forward(x_TD, pairs, ctx)
        .add(shared_->forward(x_TD, all_pairs(count_, x_TD), ctx));
  }

  at::Tensor keys_ED() const override { return routed_->keys_ED(); }

 private:
  int64_t count_;
  std::unique_ptr<Experts> routed_, shared_;
};

const config::RegisterKind<Experts, SharedExperts, SharedSettings> registered{
    "shared", "routed experts of another kind, and some that all tokens use",
    "DeepSeekMoE, arXiv 2401.06066; DiT-MoE, arXiv 2407.11633"};

}  // namespace
}  // namespace gallop::sparse
