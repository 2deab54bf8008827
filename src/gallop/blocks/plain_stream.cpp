#include "gallop/blocks/residual_stream.h"
#include "gallop/config/registry.h"
#include "gallop/ops/adaln.h"

namespace gallop::blocks {
namespace {

// x <- x + branch(x)
class PlainStream : public ResidualStream {
 public:
  explicit PlainStream(const Args& args) : ResidualStream(*args.parent, "") {}
  at::Tensor enter(const at::Tensor& x_BLD, const nn::ForwardContext&) const override {
    return x_BLD;
  }
  at::Tensor read(const at::Tensor& state, int64_t, const nn::ForwardContext&) const override {
    return state;
  }
  at::Tensor write(const at::Tensor& state, int64_t, const at::Tensor& branch_BLD,
                   const nn::ForwardContext&) const override {
    return state.add(branch_BLD);
  }
  at::Tensor write_gated(const at::Tensor& state, int64_t, const at::Tensor& gate_BD,
                         const at::Tensor& y_BLD, const nn::ForwardContext&) const override {
    return ops::adaln_add(state, gate_BD, y_BLD);
  }
  bool reads_whole_state() const override { return true; }
  at::Tensor leave(const at::Tensor& state, const nn::ForwardContext&) const override {
    return state;
  }
};

const config::RegisterKind<ResidualStream, PlainStream> registered{"plain", "x + branch(x)",
                                                                   "He et al., arXiv 1512.03385"};

}  // namespace
}  // namespace gallop::blocks
