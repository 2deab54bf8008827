#include <ATen/ops/cat.h>

#include <numeric>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/ops/linear.h"
#include "gallop/sparse/experts/grouped.h"

namespace gallop::sparse {
namespace {

struct UnequalSettings : config::Fields<UnequalSettings> {
  std::vector<int64_t> widths;
  std::string activation = "gelu";
  void fields(config::Visitor& v) override {
    v.field("widths", widths, "hidden width of each expert", config::at_least(1));
    v.field("activation", activation, "between the layers", activations());
  }
};

// Two-layer MLPs of different widths: the hidden units of all experts lie behind one another.
class UnequalExperts : public Experts {
 public:
  UnequalExperts(const UnequalSettings& settings, const Args& args)
      : Experts(*args.parent, args.name),
        settings_(checked(settings, args)),
        fc1_weight_(*this, "fc1.weight", {units(), args.D},
                    nn::Init::xavier_uniform(args.D, mean_width()), expert_attributes(args)),
        fc1_bias_(*this, "fc1.bias", {units()}, nn::Init::zeros(), bias_attributes(args)),
        fc2_weight_(*this, "fc2.weight", {units(), args.D},
                    nn::Init::xavier_uniform(mean_width(), args.D), expert_attributes(args)),
        fc2_bias_(*this, "fc2.bias", {args.experts, args.D}, nn::Init::zeros(),
                  bias_attributes(args)) {}

  at::Tensor forward(const at::Tensor& x_TD, const Kept& pairs,
                     const nn::ForwardContext&) const override {
    const at::Tensor x_PD = x_TD.index_select(0, pairs.token_P());
    const int64_t* offsets = pairs.offsets().const_data_ptr<int64_t>();
    std::vector<at::Tensor> parts = {x_PD.narrow(0, 0, 0)};
    int64_t first = 0;
    for (int64_t e = 0; e < pairs.candidates(); ++e) {
      const int64_t width = settings_.widths[static_cast<size_t>(e)];
      const auto mine = [&](const nn::Parameter& p) { return p->narrow(0, first, width); };
      if (offsets[e + 1] > offsets[e]) {
        const at::Tensor x_ND = x_PD.narrow(0, offsets[e], offsets[e + 1] - offsets[e]);
        const at::Tensor hidden_NH =
            activate(ops::linear(x_ND, mine(fc1_weight_), mine(fc1_bias_)), settings_.activation);
        parts.push_back(ops::linear(hidden_NH, mine(fc2_weight_).t(), fc2_bias_->select(0, e)));
      }
      first += width;
    }
    return combine(at::cat(parts), pairs, x_TD);
  }

  // As experts of the mean width.
  nn::Activations activations(double tokens) const override {
    const nn::Attributes& attributes = fc1_weight_.attributes();
    const auto D = static_cast<double>(fc1_weight_.shape()[1]);
    const double T = tokens * attributes.uses,
                 pairs = T * attributes.share_used * static_cast<double>(settings_.widths.size()),
                 hidden = T * attributes.share_used * static_cast<double>(units());
    return {.kept = pairs * 2 * D + hidden * 2 + T * D, .passing = pairs * D + hidden * 2};
  }

 private:
  static const UnequalSettings& checked(const UnequalSettings& settings, const Args& args) {
    require(static_cast<int64_t>(settings.widths.size()) == args.experts, args.parent->name(),
            ": expert.widths names ", settings.widths.size(), " experts, and there are ",
            args.experts);
    return settings;
  }
  static nn::Attributes bias_attributes(const Args& args) {
    nn::Attributes attributes = nn::of_bias(expert_attributes(args));
    return attributes;
  }
  int64_t units() const {
    return std::accumulate(settings_.widths.begin(), settings_.widths.end(), int64_t{0});
  }
  int64_t mean_width() const { return units() / static_cast<int64_t>(settings_.widths.size()); }

  UnequalSettings settings_;
  nn::Parameter fc1_weight_, fc1_bias_, fc2_weight_, fc2_bias_;
};

const config::RegisterKind<Experts, UnequalExperts, UnequalSettings> registered{
    "unequal", "two-layer MLPs of different widths", "HMoE, arXiv 2408.10681"};

}  // namespace
}  // namespace gallop::sparse
