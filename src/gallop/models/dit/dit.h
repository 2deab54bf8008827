#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "gallop/blocks/attention.h"
#include "gallop/blocks/depth/block_routing.h"
#include "gallop/blocks/residual_stream.h"
#include "gallop/blocks/sublayer.h"
#include "gallop/models/dit/dit_config.h"
#include "gallop/nn/embeddings.h"
#include "gallop/nn/feed_forward.h"

namespace gallop::models {

/// Image to tokens: a convolution with kernel = stride = patch, tokens row-major; name `proj`.
class PatchEmbedder : public nn::Module {
 public:
  PatchEmbedder(nn::Module& parent, std::string name, int64_t patch, int64_t C, int64_t D);
  at::Tensor forward(const at::Tensor& x_BCHW) const;

 private:
  int64_t patch_;
  nn::Parameter weight_, bias_;
};

/// adaLN-Zero block: x += gate1 * Attn(LN(x)(1 + scale1) + shift1); x += gate2 * Mlp(LN(x)(1 +
/// scale2) + shift2), the six modulations a linear function of SiLU(c).
class DitBlock : public nn::Module {
 public:
  DitBlock(nn::Module& parent, int64_t index, const DitSizes& sizes, const DitSettings& settings);
  at::Tensor forward(const at::Tensor& state, const at::Tensor& silu_c_BD,
                     const blocks::ResidualStream& stream, const nn::ForwardContext& ctx) const;
  const blocks::BlockRouting& routing() const { return *routing_; }
  /// Of the stream, which both sublayers read.
  nn::Activations activations(double tokens) const override;
  /// Of each application of the block, whose tokens attend to one another alone.
  double multiply_adds(double tokens) const override;
  /// Times that an average token goes through its attention and feed-forward layer.
  double uses() const;

 private:
  int64_t index_, width_;
  std::unique_ptr<blocks::Attention> attn_;
  std::unique_ptr<nn::FeedForward> mlp_;
  nn::Linear adaLN_modulation_;
  std::unique_ptr<blocks::BlockRouting> routing_;
  std::vector<blocks::Sublayer> sublayers_;
};

/// adaLN, then a linear layer to the p*p*C_out numbers of a patch, zero at first.
class FinalLayer : public nn::Module {
 public:
  FinalLayer(nn::Module& parent, int64_t D, int64_t patch, int64_t C_out);
  at::Tensor forward(const at::Tensor& x_BLD, const at::Tensor& silu_c_BD) const;

 private:
  nn::Linear linear_, adaLN_modulation_;
};

/// DiT (arXiv 2212.09748) with a pluggable feed-forward layer; parameter names of
/// facebookresearch/DiT.
class Dit : public Denoiser {
 public:
  Dit(const DitSettings& settings, const Args& args);

  at::Tensor forward(const at::Tensor& x_BCHW, const nn::ForwardContext& ctx) const override;

  const Args& args() const override { return sizes_.args; }
  int64_t output_channels() const override;
  bool has_null_label() const override { return sizes_.args.classes > 0 && label_dropout_ > 0; }
  double label_dropout() const override { return label_dropout_; }
  at::Tensor to_tokens(const at::Tensor& image_BCHW) const override;
  int64_t tokens() const override { return sizes_.tokens(); }
  std::vector<nn::Given> provides() const override;
  std::vector<const nn::Module*> stacked() const override;
  Footprint around_stack() const override;
  bool is_table_of_other_sizes(const nn::Parameter& parameter,
                               const at::Tensor& table) const override;
  std::optional<ClassTable> class_table() const override {
    if (!y_embedder_) return {};
    return ClassTable{&y_embedder_->table(), sizes_.args.classes, has_null_label()};
  }
  std::vector<std::string> adapters() const override { return {"dit-moe", "diffmoe"}; }
  std::string summary() const override;

  const DitSizes& sizes() const { return sizes_; }
  const std::vector<std::unique_ptr<DitBlock>>& blocks() const { return blocks_; }

 private:
  DitSizes sizes_;
  double label_dropout_;
  bool drop_sigma_;
  PatchEmbedder x_embedder_;
  nn::TimestepEmbedder t_embedder_;
  std::optional<nn::LabelEmbedder> y_embedder_;
  nn::Parameter pos_embed_;
  std::unique_ptr<blocks::ResidualStream> stream_;
  std::vector<std::unique_ptr<DitBlock>> blocks_;
  FinalLayer final_layer_;
};

}  // namespace gallop::models
