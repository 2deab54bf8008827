#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace gallop::testing {

using Tensors = std::vector<at::Tensor>;

/// One use of an operator, for its tests and its benchmark alike.
struct OperatorCase {
  std::string name;  ///< operator and sizes
  Tensors inputs;    ///< float32; all are differentiated
  std::function<at::Tensor(const Tensors&)> op, reference;
  double flops = 0;         ///< of the forward; the backward has twice as many
  double bytes = 0;         ///< read and written at least by the forward
  double tolerance = 1e-5;  ///< of float32 against float64, relative to the largest element
};

inline std::ostream& operator<<(std::ostream& out, const OperatorCase& c) { return out << c.name; }

/// Normal numbers times `scale`, keyed by the name.
at::Tensor random(const std::string& name, at::IntArrayRef shape, double scale = 1);

/// Odd sizes for tests, sizes of real models for benchmarks.
std::vector<OperatorCase> linear_cases(), linear_benchmarks();
std::vector<OperatorCase> activation_cases(), activation_benchmarks();
std::vector<OperatorCase> adaln_cases(), adaln_benchmarks();
std::vector<OperatorCase> self_attention_cases(), self_attention_benchmarks();
std::vector<OperatorCase> attention_cases(), attention_benchmarks();
std::vector<OperatorCase> grouped_mlp_cases(), grouped_mlp_benchmarks();

}  // namespace gallop::testing
