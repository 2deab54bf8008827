#include "gallop/ops/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "gallop/base/error.h"
#include "gallop/ops/cpu/moments.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/kernel.h"

namespace gallop::ops {

namespace {

constexpr int64_t numbers_of_a_task = 32768;

// Numbers begin .. begin + count of one of the tensors.
struct Piece {
  size_t tensor;
  int64_t begin, count;
};

bool fits(const AdamWTensors& t) {
  if (!has_kernel({t.value, t.gradient, t.mean, t.square, t.average})) return false;
  for (const at::Tensor& x : {t.value, t.mean, t.square, t.average}) {
    if (x.defined() && !x.is_contiguous()) return false;
  }
  return true;
}

void check(const std::vector<AdamWTensors>& tensors, const AdamWStep& step) {
  require(step.step >= 1, "AdamW's steps count from 1, not ", step.step);
  for (const AdamWTensors& t : tensors) {
    require(t.value.defined() && t.gradient.defined() && t.mean.defined() && t.square.defined(),
            "AdamW: a value without gradient or moments");
    for (const at::Tensor& x : {t.gradient, t.mean, t.square, t.average}) {
      require(!x.defined() || x.sizes() == t.value.sizes(), "AdamW: a value of ", t.value.sizes(),
              " beside one of ", x.sizes());
    }
  }
}

float* data_of(const at::Tensor& x, int64_t begin) {
  return x.defined() ? x.mutable_data_ptr<float>() + begin : nullptr;
}

std::vector<Piece> pieces_of(const std::vector<AdamWTensors>& tensors) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t count = tensors[i].value.numel();
    for (int64_t begin = 0; begin < count; begin += numbers_of_a_task) {
      pieces.push_back({i, begin, std::min(numbers_of_a_task, count - begin)});
    }
  }
  return pieces;
}

// What body(tensors, gradient, begin, count) finds in all pieces.
template <class Body>
AdamWBounds over_pieces(const std::vector<AdamWTensors>& tensors, const Body& body) {
  const std::vector<Piece> pieces = pieces_of(tensors);
  std::vector<at::Tensor> gradients;
  int64_t numbers = 0;
  for (const AdamWTensors& t : tensors) {
    gradients.push_back(t.gradient.contiguous());
    numbers += t.value.numel();
  }
  std::vector<Largest> found(pieces.size());
  parallel_each(static_cast<int64_t>(pieces.size()), numbers * work_of_a_number, [&](int64_t i) {
    const auto& [tensor, begin, count] = pieces[i];
    const float* gradient = gradients[tensor].const_data_ptr<float>() + begin;
    found[i] = body(tensors[tensor], gradient, begin, count);
  });
  return bounds_of(found);
}

// NaN if one of the numbers is.
double largest_of(const at::Tensor& x) {
  return !x.defined() || x.numel() == 0 ? 0 : x.abs().max().item<double>();
}

// Of two bounds; NaN, which no comparison holds for, stays.
double wider(double a, double b) { return a <= b ? b : a > b ? a : a + b; }

}  // namespace

Moments moments_of(const AdamWStep& s) {
  const auto n = static_cast<double>(s.step);
  return {.gradient_scale = static_cast<float>(s.gradient_scale),
          .keep = static_cast<float>(1 - s.rate * s.decay),
          .mean_share = static_cast<float>(1 - s.beta1),
          .square_share = static_cast<float>(1 - s.beta2),
          .rate = static_cast<float>(s.rate / (1 - std::pow(s.beta1, n))),
          .root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(s.beta2, n))),
          .eps = static_cast<float>(s.eps),
          .average_share = static_cast<float>(1 - s.average_decay)};
}

void AdamWBounds::cover(const AdamWBounds& other) {
  weight = wider(weight, other.weight);
  mean = wider(mean, other.mean);
  square = wider(square, other.square);
}

bool AdamWBounds::finite() const {
  return std::isfinite(weight) && std::isfinite(mean) && std::isfinite(square);
}

AdamWBounds bounds_after(const AdamWBounds& before, const AdamWStep& step, double gradient_norm) {
  // Room for roundings, and for differences on the way.
  constexpr double rounding = 1 + 1e-5, limit = std::numeric_limits<float>::max() / 16;
  const Moments by = moments_of(step);
  const double gradient = gradient_norm * step.gradient_scale * rounding;
  AdamWBounds after{.weight = before.weight,
                    .mean = wider(before.mean, gradient),
                    .square = wider(before.square, gradient * gradient) * rounding};
  // The root is at least 0.
  const double moved = before.weight * std::abs(by.keep) + std::abs(by.rate) * after.mean / by.eps;
  after.weight = wider(before.weight, moved) * rounding;
  const bool held = after.weight <= limit && after.mean <= limit && after.square <= limit &&
                    gradient_norm <= limit && std::abs(by.rate) * after.mean <= limit &&
                    std::sqrt(after.square) * by.root_scale <= limit && by.eps > 0;
  return held ? after : AdamWBounds();
}

AdamWBounds bounds_of(const AdamWTensors& t) {
  const at::NoGradGuard no_grad;
  return {wider(largest_of(t.value), largest_of(t.average)), largest_of(t.mean),
          largest_of(t.square)};
}

AdamWBounds bounds_of(const std::vector<Largest>& found) {
  Largest all;
  for (const Largest& part : found) {
    all.weight = std::max(all.weight, part.weight);
    all.mean = std::max(all.mean, part.mean);
    all.square = std::max(all.square, part.square);
  }
  return {std::bit_cast<float>(all.weight), std::bit_cast<float>(all.mean),
          std::bit_cast<float>(all.square)};
}

void adamw_step_reference(const std::vector<AdamWTensors>& tensors, const AdamWStep& step) {
  check(tensors, step);
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> values, gradients, means, squares, steps, averages, averaged;
  for (const AdamWTensors& t : tensors) {
    // The operator reads one step count a parameter.
    if (steps.empty() || steps.back().device() != t.value.device()) {
      steps.push_back(
          at::full({}, static_cast<double>(step.step), t.value.options().dtype(at::kFloat)));
    } else {
      steps.push_back(steps.back());
    }
    values.push_back(t.value);
    gradients.push_back(t.gradient.contiguous());
    means.push_back(t.mean);
    squares.push_back(t.square);
    if (t.average.defined()) {
      averages.push_back(t.average);
      averaged.push_back(t.value);
    }
  }
  if (values.empty()) return;
  std::optional<at::Tensor> divisor;  // the operator divides by it
  if (step.gradient_scale != 1) {
    divisor = at::full({}, 1 / step.gradient_scale, values.front().options().dtype(at::kFloat));
  }
  at::_fused_adamw_(values, gradients, means, squares, {}, steps, step.rate, step.beta1, step.beta2,
                    step.decay, step.eps, /*amsgrad=*/false, /*maximize=*/false, divisor);
  if (!averages.empty()) at::_foreach_lerp_(averages, averaged, 1 - step.average_decay);
}

std::optional<AdamWBounds> adamw_step(const std::vector<AdamWTensors>& tensors,
                                      const AdamWStep& step) {
  if (!std::all_of(tensors.begin(), tensors.end(), fits)) {
    adamw_step_reference(tensors, step);
    return {};
  }
  check(tensors, step);
  const at::NoGradGuard no_grad;
  const Moments moments = moments_of(step);
  return over_pieces(
      tensors, [&](const AdamWTensors& t, const float* gradient, int64_t begin, int64_t count) {
        return step_moments(data_of(t.value, begin), gradient, data_of(t.mean, begin),
                            data_of(t.square, begin), data_of(t.average, begin), count, moments);
      });
}

AdamWBounds try_adamw_step(const AdamWTensors& tensors, const AdamWStep& step) {
  check({tensors}, step);
  const at::NoGradGuard no_grad;
  if (!fits(tensors)) {
    const AdamWTensors copy{tensors.value.clone(), tensors.gradient.clone(), tensors.mean.clone(),
                            tensors.square.clone(),
                            tensors.average.defined() ? tensors.average.clone() : at::Tensor()};
    adamw_step_reference({copy}, step);
    return bounds_of(copy);
  }
  const Moments moments = moments_of(step);
  return over_pieces(
      {tensors}, [&](const AdamWTensors& t, const float* gradient, int64_t begin, int64_t count) {
        return try_moments(data_of(t.value, begin), gradient, data_of(t.mean, begin),
                           data_of(t.square, begin), data_of(t.average, begin), count, moments);
      });
}

}  // namespace gallop::ops
