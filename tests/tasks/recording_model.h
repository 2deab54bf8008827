#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gallop/models/denoiser.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::testing {

/// A sparse loss of a fixed value that keeps the targets it was shown.
class RecordingLoss : public sparse::SparseLoss {
 public:
  RecordingLoss(std::string kind, double weight, double value)
      : kind_(std::move(kind)), weight_(weight), value_(value) {}
  std::string kind() const override { return kind_; }
  double weight() const override { return weight_; }
  at::Tensor value(const sparse::RoutingRecord& record,
                   const at::Tensor& target_BLH) const override;

  mutable std::vector<at::Tensor> targets;

 private:
  std::string kind_;
  double weight_, value_;
};

/// A network that keeps what it was fed and puts out scale * x + label, element by element, so that
/// a sample's output is the same to the bit whatever its neighbours. Give it records by adding
/// losses: one a layer.
class RecordingModel : public models::Denoiser {
 public:
  explicit RecordingModel(const Args& args, double label_dropout = 0.1, double scale = 0);

  at::Tensor forward(const at::Tensor& x_BCHW, const nn::ForwardContext& ctx) const override;
  const Args& args() const override { return args_; }
  int64_t output_channels() const override { return args_.channels; }
  bool has_null_label() const override { return args_.classes > 0 && label_dropout_ > 0; }
  double label_dropout() const override { return label_dropout_; }
  /// One token a row of the image.
  at::Tensor to_tokens(const at::Tensor& image_BCHW) const override;
  int64_t tokens() const override { return args_.height; }
  std::string summary() const override { return "recording"; }

  struct Call {
    at::Tensor x_BCHW, timestep_B, label_B;
    bool training, gradients;
  };
  mutable std::vector<Call> calls;
  std::vector<std::vector<std::unique_ptr<sparse::SparseLoss>>> layer_losses;

 private:
  Args args_;
  double label_dropout_;
  nn::Parameter scale_;
};

}  // namespace gallop::testing
