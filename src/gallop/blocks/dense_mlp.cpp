#include <cmath>
#include <optional>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/nn/feed_forward.h"
#include "gallop/nn/linear.h"

namespace gallop::blocks {
namespace {

struct DenseMlpSettings : config::Fields<DenseMlpSettings> {
  double ratio = 4;
  std::optional<int64_t> hidden;
  void fields(config::Visitor& v) override {
    v.field("ratio", ratio, "hidden width over model width", config::positive());
    v.field("hidden", hidden, "hidden width; absent: ratio * width", config::at_least(1));
  }
  int64_t hidden_of(int64_t D) const {
    const int64_t units = hidden.value_or(std::llround(ratio * static_cast<double>(D)));
    require(units > 0, "mlp.ratio = ", ratio, " of a width of ", D, " leaves no hidden unit");
    return units;
  }
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

const config::Register<nn::FeedForward, DenseMlpSettings> registered{
    "dense", "two linear layers with tanh GELU", "DiT, arXiv 2212.09748",
    [](const DenseMlpSettings& settings, const nn::FeedForward::Args& args) {
      return std::make_unique<DenseMlp>(settings, args);
    }};

}  // namespace
}  // namespace gallop::blocks
