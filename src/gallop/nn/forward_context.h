#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gallop/base/random.h"

namespace gallop::sparse {
struct RoutingRecord;
struct RowThresholds;
struct RowsSwitchedOff;
}  // namespace gallop::sparse

namespace gallop::nn {

/// Intermediate tensors that someone asked for, in the order of the forward.
struct Taps {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  void add(std::string name, const at::Tensor& value) {
    tensors.emplace_back(std::move(name), value);
  }
};

/// What travels down a forward; owned by the caller. Unused fields are undefined or null.
/// Shape legend of model code: B batch, L tokens a sample, T = B*L, D width, E experts, K active
/// experts a token on average, P kept (token, expert) pairs, H expert hidden width, N heads, C
/// channels.
struct ForwardContext {
  bool training = false;      ///< top-K routing and pending updates; otherwise thresholds
  int64_t micro_batches = 1;  ///< of a training step, this forward being one of them
  at::Tensor timestep_B;      ///< as the network expects it: index 0..999, or t in [0, 1]
  at::Tensor label_B;         ///< int64; undefined for unconditional models
  NoiseKey noise;             ///< of this forward; `sample` is that of row 0, row b has sample + b
  at::Tensor time_embedding_BD;  ///< what a model made of timestep_B; undefined in others
  at::Tensor time_table_TD;      ///< the same of all noise levels; undefined unless a block asked
  at::Tensor unconditional_B;    ///< bool, rows with the null label; undefined without one
  at::Tensor modality_BL;        ///< int64, 0: tokens that may skip blocks; undefined: all may
  const sparse::RowThresholds* thresholds = nullptr;      ///< null: those of the model
  const sparse::RowsSwitchedOff* switched_off = nullptr;  ///< null: all candidates are there
  std::vector<sparse::RoutingRecord>* routing = nullptr;  ///< null: nobody asked
  Taps* taps = nullptr;                                   ///< null: nobody asked
};

}  // namespace gallop::nn
