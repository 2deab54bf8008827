#pragma once

#include <cstdint>

#include "gallop/models/model.h"

namespace gallop::models {

/// Sizes of a model, counted from its declarations without allocating anything.
struct Counts {
  int64_t total = 0;      ///< every stored element: frozen tables included, thresholds not
  int64_t trainable = 0;  ///< without frozen tables
  double active = 0;      ///< used by an average token at inference (experts count k/E)
  int64_t paper_total =
      0;  ///< rule of Race-DiT's tables: blocks only, weight matrices only, no PLR head
  double paper_active = 0;
  double multiply_adds = 0;  ///< of one sample's forward at inference, attention included
};
Counts count(const Model& model);

/// Multiply-adds of one sample's forward at inference when an average token uses `factor` times as
/// many experts as the recipe says.
double multiply_adds_with(const Model& model, double factor);

/// What one sample takes beside the weights, an estimate.
Footprint footprint(const Model& model);

/// Floating-point operations of one training sample: 2 a multiply-add, forward and twice that
/// backward.
double training_flops(const Model& model);

}  // namespace gallop::models
