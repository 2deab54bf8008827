#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gallop/config/schema.h"
#include "gallop/nn/forward_context.h"
#include "gallop/nn/module.h"

namespace gallop::models {

/// Numbers of one sample that a model holds beside its weights.
struct Footprint {
  double kept = 0;       ///< in training, by all parts for the backward pass
  double passing = 0;    ///< beside those, while the largest part runs backward
  double inference = 0;  ///< the most at once in a forward without gradients
  double recorded = 0;   ///< beside those, by the routing that was asked for
};

/// A network on images or latents: x [B, C, H, W], a time and perhaps a label -> [B, C_out, H, W].
class Model : public nn::Module {
 public:
  static constexpr const char* category = "model";
  /// What data and objective decide. A recipe's [model] may state the sizes itself (for `gallop
  /// forward`).
  struct Args {
    int64_t channels = 0, height = 0, width = 0;
    int64_t classes = 0;          ///< 0: unconditional
    bool predicts_sigma = false;  ///< the objective wants 2*C output channels
  };

  virtual at::Tensor forward(const at::Tensor& x_BCHW, const nn::ForwardContext& ctx) const = 0;

  /// Sizes after the recipe's own are applied.
  virtual const Args& args() const = 0;
  virtual int64_t output_channels() const = 0;
  /// Whether there is a null label; its index is args().classes.
  virtual bool has_null_label() const = 0;
  /// Chance that training replaces a label by the null label.
  virtual double label_dropout() const = 0;
  /// An image-shaped tensor in the token layout of the per-layer heads, [B, L, p*p*C].
  virtual at::Tensor to_tokens(const at::Tensor& image_BCHW) const = 0;
  /// Tokens a sample (L), for counting work.
  virtual int64_t tokens() const = 0;
  /// Multiply-adds of one sample outside the weight matrices (attention scores and values).
  virtual int64_t attention_multiply_adds() const = 0;
  /// What one sample takes, an estimate.
  virtual Footprint footprint() const = 0;
  /// Whether `table` is what this computed parameter holds in a model of other sizes, of another
  /// resolution for example; false where that cannot be told. Exact up to the rounding of bf16.
  virtual bool is_table_of_other_sizes(const nn::Parameter& /*parameter*/,
                                       const at::Tensor& /*table*/) const {
    return false;
  }
  /// Tensors of a published release of this family under the names that they have here; what has no
  /// published name stays as it is. Throws Error for a release that is not whole.
  virtual std::map<std::string, at::Tensor> with_own_names(
      std::map<std::string, at::Tensor> tensors) const {
    return tensors;
  }
  /// The table with a row for each class, and perhaps one for the null label at its end; null
  /// pointer where labels have no such table.
  virtual const nn::Parameter* class_table() const { return nullptr; }
  /// One line: sizes as a person would say them.
  virtual std::string summary() const = 0;
};

/// Builds the model of a recipe's [model] component; nothing is allocated yet.
std::unique_ptr<Model> make_model(const config::Component& component, const Model::Args& args);

}  // namespace gallop::models
