#include "gallop/training/gradients.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/rows.h"

namespace gallop::training {
namespace {

// Eight independent sums, since one chain of additions would wait for each.
template <class T>
double sum_of_squares(const T* x, int64_t n) {
  constexpr int64_t lanes = 8;
  std::array<double, lanes> sums{};
  const int64_t whole = n - n % lanes;
  for (int64_t i = 0; i < whole; i += lanes) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const double v = x[i + lane];
      sums[lane] += v * v;
    }
  }
  for (int64_t i = whole; i < n; ++i) sums[0] += static_cast<double>(x[i]) * x[i];
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

// ATen's norm adds float32 in float32: 1e-5 off for a large table, which clipping would pass on.
double sum_of_squares(const at::Tensor& gradient) {
  if (gradient.is_cpu() && gradient.is_contiguous()) {
    const int64_t n = gradient.numel();
    if (gradient.scalar_type() == at::kFloat) {
      return sum_of_squares(gradient.const_data_ptr<float>(), n);
    }
    if (gradient.scalar_type() == at::kDouble) {
      return sum_of_squares(gradient.const_data_ptr<double>(), n);
    }
  }
  const double norm =
      at::linalg_vector_norm(gradient, 2, at::OptionalIntArrayRef{}, false, at::kDouble)
          .item<double>();
  return norm * norm;
}

// As the parameter says; a lookup in a dense parameter leaves rows, too.
at::Tensor in_its_form(const nn::Parameter& parameter) {
  const at::Tensor& gradient = (*parameter).grad();
  if (!gradient.defined()) return gradient;
  if (!parameter.has_row_gradient()) return gradient.is_sparse() ? gradient.to_dense() : gradient;
  require(gradient.is_sparse(), "the gradient of ", parameter.name(),
          " is dense, though a step shall touch the rows that are looked up alone: something else "
          "than a lookup reads the table (a product, a norm); declare it with Gradient::dense");
  return ops::coalesce_rows(gradient);
}

// All its numbers.
at::Tensor numbers_of(const nn::Parameter& parameter) {
  const at::Tensor gradient = in_its_form(parameter);
  return gradient.defined() && gradient.is_sparse() ? gradient._values() : gradient;
}

}  // namespace

void coalesce_gradients(const std::vector<nn::Parameter*>& parameters) {
  for (const nn::Parameter* parameter : parameters) {
    const at::Tensor gradient = in_its_form(*parameter);
    if (!gradient.is_same((**parameter).grad())) (**parameter).mutable_grad() = gradient;
  }
}

RowGradient row_gradient(const nn::Parameter& parameter) {
  require(parameter.has_row_gradient(), parameter.name(), " has a dense gradient, not rows");
  const at::Tensor gradient = in_its_form(parameter);
  if (!gradient.defined()) return {};
  return {gradient._indices().select(0, 0), gradient._values()};
}

at::Tensor dense_gradient(const nn::Parameter& parameter) {
  require(!parameter.has_row_gradient(), parameter.name(), " has a gradient of rows");
  return in_its_form(parameter);
}

double global_norm(const std::vector<nn::Parameter*>& parameters) {
  constexpr int64_t numbers_of_a_part = 65536;
  std::vector<at::Tensor> parts;
  int64_t numbers = 0;
  double others = 0;
  for (const nn::Parameter* parameter : parameters) {
    const at::Tensor gradient = numbers_of(*parameter);
    if (!gradient.defined()) continue;
    if (!gradient.is_cpu() || !gradient.is_contiguous()) {
      others += sum_of_squares(gradient);
      continue;
    }
    numbers += gradient.numel();
    for (at::Tensor& part : gradient.flatten().split(numbers_of_a_part)) {
      parts.push_back(std::move(part));
    }
  }
  // Added up in order, so that the threads do not matter.
  std::vector<double> sums(parts.size());
  ops::parallel_each(static_cast<int64_t>(parts.size()), numbers * ops::work_of_a_number,
                     [&](int64_t i) { sums[i] = sum_of_squares(parts[i]); });
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), others));
}

double clip_factor(double norm, double clip) {
  return clip == 0 ? 1.0 : std::min(1.0, clip / (norm + 1e-6));
}

std::string first_non_finite_gradient(const std::vector<nn::Parameter*>& parameters) {
  for (const nn::Parameter* parameter : parameters) {
    const at::Tensor gradient = numbers_of(*parameter);
    if (gradient.defined() && !at::isfinite(gradient).all().item<bool>()) return parameter->name();
  }
  return {};
}

void clear_gradients(const std::vector<nn::Parameter*>& parameters) {
  for (const nn::Parameter* parameter : parameters) (**parameter).mutable_grad() = at::Tensor();
}

}  // namespace gallop::training
