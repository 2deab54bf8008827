#include <cmath>
#include <optional>

#include "gallop/base/error.h"
#include "gallop/config/follow.h"
#include "gallop/config/registry.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/nn/linear.h"

namespace gallop::blocks {
namespace {

struct DenseMlpSettings : config::Fields<DenseMlpSettings>, config::Follows {
  std::optional<double> ratio;
  std::optional<int64_t> hidden;
  void fields(config::Visitor& v) override {
    v.field("ratio", ratio, "hidden width over model width; absent: 4", config::positive());
    v.field("hidden", hidden, "hidden width; absent: ratio * width", config::at_least(1));
  }
  // Both say one thing: the one that a later source states takes the place of the other.
  std::string follow(const config::Stated& stated) override {
    const bool by_ratio = stated.has("ratio"), by_hidden = stated.has("hidden");
    require(!by_ratio || !by_hidden || stated.in_file,
            "ratio and hidden both say how wide the hidden layer is: give one of the two");
    if (by_ratio && !by_hidden) hidden.reset();
    // The config.toml of older runs states the default ratio, beside any hidden width too.
    if (ratio == default_ratio) ratio.reset();
    if (!by_hidden || !ratio) return {};
    ratio.reset();
    return by_ratio
               ? "hidden = " + std::to_string(*hidden) + " counts, and the ratio beside it does not"
               : "";
  }
  int64_t hidden_of(int64_t D) const {
    const double share = ratio.value_or(default_ratio);
    const int64_t units = hidden.value_or(std::llround(share * static_cast<double>(D)));
    require(units > 0, "mlp.ratio = ", share, " of a width of ", D, " leaves no hidden unit");
    return units;
  }

  static constexpr double default_ratio = 4;
};

// D -> hidden -> D with tanh GELU; names `mlp.fc1`, `mlp.fc2`.
class DenseMlp : public nn::FeedForward {
 public:
  DenseMlp(const DenseMlpSettings& settings, const Args& args)
      : FeedForward(*args.parent, "mlp"),
        fc1_(*this, "fc1", args.D, settings.hidden_of(args.D)),
        fc2_(*this, "fc2", settings.hidden_of(args.D), args.D) {}

  at::Tensor forward(const at::Tensor& x_BLD, const nn::ForwardContext&) const override {
    return fc2_.forward(fc1_.forward_gelu(x_BLD));
  }

 private:
  nn::Linear fc1_, fc2_;
};

const config::RegisterKind<nn::FeedForward, DenseMlp, DenseMlpSettings> registered{
    "dense", "two linear layers with tanh GELU", "DiT, arXiv 2212.09748"};

}  // namespace
}  // namespace gallop::blocks
