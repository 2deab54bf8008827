#pragma once

#include <functional>
#include <vector>

#include "gallop/nn/forward_context.h"
#include "gallop/nn/linear.h"
#include "gallop/nn/module.h"

namespace gallop::sparse {

/// A block on some tokens of every sample: x + attention + mlp_scale * mlp, the tokens attending to
/// one another alone. positions_BK names them among all L (undefined: all of them, in order);
/// mlp_scale_BK may be undefined and then is 1.
using BlockBody = std::function<at::Tensor(const at::Tensor& x_BKD, const at::Tensor& positions_BK,
                                           const at::Tensor& mlp_scale_BK)>;

/// How a block is applied to its tokens: once to all of them, to some only, or several times. Named
/// "routing" inside the block.
class BlockRouting : public nn::Module {
 public:
  static constexpr const char* category = "block_routing";
  struct Args {
    nn::Module* parent = nullptr;   ///< the block
    int64_t D = 0, tokens = 0;      ///< width, L
    int64_t index = 0, blocks = 1;  ///< which block of how many
  };
  using nn::Module::Module;
  /// x_BLD -> [B, L, D].
  virtual at::Tensor forward(const at::Tensor& x_BLD, const BlockBody& body,
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
/// x_BL[D] at those positions, [B, K] or [B, K, D].
at::Tensor at_positions(const at::Tensor& x, const at::Tensor& positions_BK);
/// x_BLD with the tokens at those positions replaced.
at::Tensor put_positions(const at::Tensor& x_BLD, const at::Tensor& positions_BK,
                         const at::Tensor& new_BKD);

}  // namespace gallop::sparse
