#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gallop/nn/forward_context.h"
#include "gallop/nn/pending_update.h"
#include "gallop/sparse/choice/kept.h"
#include "gallop/sparse/choice/step_sums.h"

namespace gallop::sparse {

class Selection;
class SparseLoss;

using nn::AppliedStep;
using nn::PendingUpdate;

/// What a layer lets its tokens choose from. Numbers of one are no measure of another, so that
/// statistics and losses keep them apart.
enum class Choice { expert, head, depth, mask, slot };
/// "experts", "heads", "depths", "masks", "slots" (rows of a memory).
const char* plural_of(Choice choice);

/// What a sparse layer tells the outside about one forward. Tensors carry a graph in training only.
struct RoutingRecord {
  std::string layer;  ///< full name, e.g. "blocks.3.moe"
  Choice choice = Choice::expert;
  double active = 0;        ///< K, the wanted experts a token
  at::Tensor logits_BLE;    ///< raw router scores; of lists: [B, queries, places of the list]
  at::Tensor gate_BLE;      ///< gated scores, alike: what weights are made of
  Kept kept;                ///< the kept pairs, of tokens and candidates
  at::Tensor head_BLH;      ///< prediction of the per-layer head; undefined without one
  at::Tensor compared_BLE;  ///< what the selection's threshold is compared with, if it has one
  at::Tensor kappa;  ///< K-th largest gated score of each pool; undefined at inference by threshold
  at::Tensor x_BLD;  ///< the tokens that were routed; in training only
  at::Tensor label_B, timestep_B;            ///< as the context brought them
  std::map<std::string, at::Tensor> extras;  ///< of the router, see Routed
  const std::vector<std::unique_ptr<SparseLoss>>* losses = nullptr;  ///< of this layer
  std::vector<PendingUpdate> pending;
  const Selection* selection = nullptr;  ///< of this layer
  StepSums* step = nullptr;  ///< of the micro-batches of this training step; null: alone

  /// What the router shows under that name; throws Error that says which layer has none.
  const at::Tensor& extra(const std::string& name) const;
};

/// What a part that chose by itself hands to ctx.routing, if somebody asked: `record`, with the
/// tokens x_BLD that chose (kept in training only) and the label and time of the context. The one
/// place where records are written; a Chooser does it for what it chooses.
void add_record(const nn::ForwardContext& ctx, const at::Tensor& x_BLD, RoutingRecord record);

/// Throws Error that names the first layer with a score that is NaN or infinite. Selections order
/// such scores like any other (NaN at an end), so that a forward ends all the same.
void require_finite_scores(const std::vector<RoutingRecord>& records);

}  // namespace gallop::sparse
