#pragma once

#include "gallop/nn/linear.h"
#include "gallop/nn/module.h"

namespace gallop::nn {

/// Sinusoidal code of a time, t [B] (any real) -> [B, width]: cosines first, then sines,
/// frequencies exp(-ln(10000) i / (width/2)); an odd width ends with a zero column. Computed and
/// returned in float64 (DiT, arXiv 2212.09748).
at::Tensor timestep_code(const at::Tensor& t_B, int64_t width);

/// Frozen 2-D sine-cosine table [1, height*width, D] of float64, tokens row-major; the first half
/// of the channels codes the column, the second the row; D divisible by 4 (DiT, as in MAE).
at::Tensor position_table_2d(int64_t D, int64_t height, int64_t width);

/// t [B] -> [B, D]: code of 256 numbers, then Linear, SiLU, Linear; names `mlp.0`, `mlp.2`.
class TimestepEmbedder : public Module {
 public:
  TimestepEmbedder(Module& parent, std::string name, int64_t D);
  at::Tensor forward(const at::Tensor& t_B) const;
  static constexpr int64_t code_width = 256;

 private:
  Linear mlp_0_, mlp_2_;
};

/// Class table `embedding_table.weight`; with a null label its row `classes` stands for "no class".
class LabelEmbedder : public Module {
 public:
  LabelEmbedder(Module& parent, std::string name, int64_t classes, bool null_label, int64_t D);
  /// y [B] int64 -> [B, D]; throws Error with the label when one is out of range.
  at::Tensor forward(const at::Tensor& y_B) const;
  const Parameter& table() const { return table_; }

 private:
  int64_t rows_;
  Parameter table_;
};

}  // namespace gallop::nn
