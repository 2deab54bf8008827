#pragma once

#include "gallop/nn/branch.h"

namespace gallop::nn {

/// What a transformer block calls its MLP: dense, or a sparse layer. The kinds choose their own
/// child name ("mlp", "moe"), since checkpoints are loaded by name.
class FeedForward : public Branch {
 public:
  static constexpr const char* category = "mlp";
  struct Args {
    Module* parent = nullptr;  ///< the block
    int64_t D = 0;             ///< width
    int64_t tokens = 0;        ///< L
    int64_t target_width = 0;  ///< p*p*C: width of a token of the training target
    int64_t layers = 0;        ///< feed-forward layers in the model
  };
  using Branch::Branch;
};

}  // namespace gallop::nn
