#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "gallop/config/schema.h"

namespace gallop::sparse {

/// Tokens that an expert takes at most, from T tokens of k choices among E experts.
struct CapacitySettings : config::Fields<CapacitySettings> {
  double factor = 1;
  int64_t minimum = 1;
  std::string rounding = "tutel", order = "prefix", inference = "keep";
  void fields(config::Visitor& v) override;
  /// "tutel": k int(factor ceil(T/E)); "deepspeed": ceil(factor k ceil(T/E)); "floor": int(factor k
  /// T/E); and never below `minimum`.
  int64_t capacity(int64_t T, int64_t E, int64_t k) const;
};

/// The k choices of each token in order, and who finds a place.
struct CapacityPlaces {
  at::Tensor expert_Tk;  ///< int64, best first
  at::Tensor
      location_Tk;     ///< int64, tokens of the same expert placed earlier, dropped ones included
  at::Tensor kept_Tk;  ///< bool, location < capacity
};

/// Places all first choices before all second ones, inside a choice the tokens in the order
/// `order_T` (a permutation; Tutel, arXiv 2206.03382).
CapacityPlaces place(const at::Tensor& key_TE, int64_t k, int64_t capacity,
                     const at::Tensor& order_T);

/// Tokens by priority descending, ties by index.
at::Tensor by_priority(const at::Tensor& priority_T);

}  // namespace gallop::sparse
