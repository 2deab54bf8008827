#pragma once

#include <functional>
#include <vector>

#include "gallop/blocks/positions.h"
#include "gallop/blocks/residual_stream.h"
#include "gallop/nn/forward_context.h"
#include "gallop/nn/linear.h"
#include "gallop/nn/module.h"

namespace gallop::blocks {

/// A block as its routing sees it.
struct BlockBody {
  const ResidualStream& stream;  ///< which changes the state, for the block and for its routing
  int64_t first = 0;             ///< its first sublayer there
  /// The state after the block worked on these tokens of every sample, which attend to one another
  /// alone. positions_BK names them among all L (undefined: all of them, in order); the mlp's
  /// branch is multiplied by mlp_scale_BK (undefined: 1).
  std::function<at::Tensor(const at::Tensor& state, const at::Tensor& positions_BK,
                           const at::Tensor& mlp_scale_BK)>
      run;

  /// What a routing scores, [B, L, D]: what the block's first sublayer would see.
  at::Tensor seen(const at::Tensor& state, const nn::ForwardContext& ctx) const {
    return stream.read(state, first, ctx);
  }
};

/// How a block is applied to its tokens: once to all of them, to some only, or several times. It
/// adds nothing itself: tokens are taken out of the state and put back, and states are weighed and
/// added, by the stream. Named "routing" inside the block.
class BlockRouting : public nn::Module {
 public:
  static constexpr const char* category = "block_routing";
  struct Args {
    nn::Module* parent = nullptr;   ///< the block
    int64_t D = 0, tokens = 0;      ///< width, L
    int64_t index = 0, blocks = 1;  ///< which block of how many
  };
  using nn::Module::Module;
  /// The state after the block.
  virtual at::Tensor forward(const at::Tensor& state, const BlockBody& body,
                             const nn::ForwardContext& ctx) const = 0;
  /// Each time that the block is applied: the share of a sample's tokens that it works on.
  virtual std::vector<double> shares() const { return {1}; }
  /// Whether the block always sees all tokens of a sample.
  virtual bool gives_all_tokens() const { return true; }
  /// How many noise levels it wants embedded for training (`time_table_TD`); 0: none.
  virtual int64_t time_table() const { return 0; }
};

/// What a router of one column gives each token, [B, L]: in float32 in every precision, since their
/// order decides.
at::Tensor token_scores(const nn::Linear& router, const at::Tensor& x_BLD);
/// [B, K] int64, ascending: the K entries of each row that come first by (value descending, index
/// ascending).
at::Tensor best_positions(const at::Tensor& key_BL, int64_t K);

}  // namespace gallop::blocks
