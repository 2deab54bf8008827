#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gallop/sparse/assignment.h"

namespace gallop::sparse {

class Selection;
class SparseLoss;

/// A change of a buffer that a training forward wants. The trainer commits it after an applied
/// step, in micro-batch order, and drops it with a skipped one; the forward itself changes nothing.
struct PendingUpdate {
  std::function<void(int64_t applied_steps)> commit;
};

/// What a sparse layer tells the outside about one forward. Tensors carry a graph in training only.
struct RoutingRecord {
  std::string layer;      ///< full name, e.g. "blocks.3.moe"
  double active = 0;      ///< K, the wanted experts a token
  at::Tensor logits_BLE;  ///< raw router scores
  at::Tensor gate_BLE;    ///< gated scores: what weights are made of
  at::Tensor mask_BLE;    ///< bool, the kept pairs
  at::Tensor head_BLH;    ///< prediction of the per-layer head; undefined without one
  at::Tensor kappa;  ///< K-th largest gated score of each pool; undefined at inference by threshold
  Assignment assignment;
  const std::vector<std::unique_ptr<SparseLoss>>* losses = nullptr;  ///< of this layer
  std::vector<PendingUpdate> pending;
  Selection* selection = nullptr;  ///< of this layer; calibration sets its threshold
};

}  // namespace gallop::sparse
