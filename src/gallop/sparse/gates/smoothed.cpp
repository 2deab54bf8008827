#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>

#include <limits>

#include "gallop/config/registry.h"
#include "gallop/sparse/choice/gate.h"

namespace gallop::sparse {
namespace {

struct SmoothedSettings : config::Fields<SmoothedSettings> {
  double temperature = 1;
  bool causal = false;
  void fields(config::Visitor& v) override {
    v.field("temperature", temperature, "of the similarity of tokens", config::positive());
    v.field("causal", causal, "a token is averaged with earlier ones only");
  }
};

// r~ = S softmax(logits), S_ij = softmax_j(x_i^T W x_j / temperature): similar tokens choose alike.
class SmoothedGate : public Gate {
 public:
  SmoothedGate(const SmoothedSettings& settings, const Args& args)
      : Gate(*args.parent, "router"),
        settings_(settings),
        similarity_(*this, "similarity", {args.D, args.D},
                    nn::Init::computed([D = args.D] { return at::eye(D); })) {}

  Scores scores(const GateInput& in) const override {
    const at::Tensor& x_BLD = in.x_BLD;
    at::Tensor S_BLL =
        x_BLD.matmul(*similarity_).matmul(x_BLD.transpose(1, 2)).div(settings_.temperature);
    if (settings_.causal) {
      const int64_t L = x_BLD.size(1);
      const at::Tensor later_LL = at::ones({L, L}, x_BLD.options().dtype(at::kBool)).triu(1);
      S_BLL = S_BLL.masked_fill(later_LL, -std::numeric_limits<double>::infinity());
    }
    const at::Tensor gate_BLE = S_BLL.softmax(-1).matmul(in.logits_BLE.softmax(-1));
    return {in.logits_BLE, gate_BLE, gate_BLE};
  }

  // The mean of two tokens' probabilities is of the same candidate.
  bool takes_lists() const override { return false; }

  // A token's similarity to all others, twice.
  nn::Activations activations(double tokens) const override {
    const auto D = static_cast<double>(similarity_.shape()[0]);
    const double T = tokens * similarity_.attributes().uses;
    return {.kept = T * (D + 2 * tokens), .passing = T * (D + 2 * tokens)};
  }

 private:
  SmoothedSettings settings_;
  nn::Parameter similarity_;
};

const config::RegisterKind<Gate, SmoothedGate, SmoothedSettings> registered{
    "smoothed", "softmax, averaged over the tokens of a sample by their similarity",
    "arXiv 2505.00792"};

}  // namespace
}  // namespace gallop::sparse
