#pragma once

#include <string>

#include "gallop/nn/forward_context.h"
#include "gallop/nn/module.h"
#include "gallop/sparse/choice/kept.h"

namespace gallop::sparse {

/// What runs on the kept pairs: y_t = sum over the pairs of token t of weight * expert(x_t); tokens
/// without a pair get exactly 0.
class Experts : public nn::Module {
 public:
  static constexpr const char* category = "experts";
  struct Args {
    nn::Module* parent = nullptr;
    int64_t D = 0, experts = 0, hidden = 0;
    double active = 0;
    bool routed = true;            ///< tokens choose from them; false: all tokens use all
    std::string name = "experts";  ///< under the parent
  };
  using nn::Module::Module;
  virtual at::Tensor forward(const at::Tensor& x_TD, const Kept& pairs,
                             const nn::ForwardContext& ctx) const = 0;
  /// [E, D] one vector an expert, the mean of its first-layer rows, for routers made of them;
  /// throws Error for a kind that has none.
  virtual at::Tensor keys_ED() const;
};

}  // namespace gallop::sparse
