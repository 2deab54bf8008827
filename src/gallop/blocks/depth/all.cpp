#include "gallop/blocks/depth/block_routing.h"
#include "gallop/config/registry.h"

namespace gallop::blocks {
namespace {

class AllTokens : public BlockRouting {
 public:
  explicit AllTokens(const Args& args) : BlockRouting(*args.parent, "") {}
  at::Tensor forward(const at::Tensor& state, const BlockBody& body,
                     const nn::ForwardContext&) const override {
    return body.run(state, {}, {});
  }
};

const config::RegisterKind<BlockRouting, AllTokens> registered{
    "all", "every block once on every token", "Vaswani et al., arXiv 1706.03762"};

}  // namespace
}  // namespace gallop::blocks
