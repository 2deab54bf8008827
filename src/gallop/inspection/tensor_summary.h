#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gallop/formats/safetensors.h"

namespace gallop::inspection {

/// What the elements of a stored tensor look like.
struct TensorSummary {
  std::string name, type;
  std::vector<int64_t> shape;
  int64_t elements = 0;
  int64_t nan = 0, infinite = 0;
  double min = 0, max = 0, mean = 0;  ///< of the finite elements; NaN if there is none
};

/// Reads every element once, in pieces: needs little memory whatever the size.
TensorSummary summarize(const formats::TensorView& tensor);

/// A table, a line a tensor, with a headline and a last line that counts tensors, elements and
/// bytes.
std::string table_of(const std::vector<TensorSummary>& tensors);

}  // namespace gallop::inspection
