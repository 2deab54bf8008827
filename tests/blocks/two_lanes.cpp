#include "tests/blocks/two_lanes.h"

#include <ATen/ops/stack.h>

#include "gallop/blocks/residual_stream.h"
#include "gallop/config/registry.h"

namespace gallop::blocks {
namespace {

class TwoLanes : public ResidualStream {
 public:
  explicit TwoLanes(const Args& args) : ResidualStream(*args.parent, "") {}
  at::Tensor enter(const at::Tensor& x_BLD, const nn::ForwardContext&) const override {
    return at::stack({x_BLD, x_BLD.mul(0.5)}, 2);
  }
  at::Tensor read(const at::Tensor& state, int64_t, const nn::ForwardContext&) const override {
    return testing::Lanes::of(state).seen();
  }
  at::Tensor write(const at::Tensor& state, int64_t, const at::Tensor& branch_BLD,
                   const nn::ForwardContext&) const override {
    const auto [a, b] = testing::Lanes::of(state).written(branch_BLD);
    return at::stack({a, b}, 2);
  }
  at::Tensor leave(const at::Tensor& state, const nn::ForwardContext&) const override {
    return state.sum(2);
  }
};

const config::Register<ResidualStream, config::NoSettings> registered{
    "two_lanes", "two lanes that mix", "a test",
    [](const auto&, const ResidualStream::Args& args) { return std::make_unique<TwoLanes>(args); }};

}  // namespace
}  // namespace gallop::blocks
