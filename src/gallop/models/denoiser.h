#pragma once

#include <memory>

#include "gallop/config/schema.h"
#include "gallop/models/model.h"
#include "gallop/nn/forward_context.h"

namespace gallop::models {

/// A network on images or latents: x [B, C, H, W], a time and perhaps a label -> [B, C_out, H, W].
class Denoiser : public Model {
 public:
  static constexpr const char* category = "denoiser";
  /// What data and objective decide. A recipe may state the sizes itself (for `gallop forward`).
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
};

/// Builds the network that a recipe chose; nothing is allocated yet. Throws Error where one of its
/// parts needs what it does not give.
std::unique_ptr<Denoiser> make_denoiser(const config::Component& component,
                                        const Denoiser::Args& args);

}  // namespace gallop::models
