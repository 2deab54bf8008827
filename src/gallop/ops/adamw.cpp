#include "gallop/ops/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "gallop/base/error.h"
#include "gallop/ops/kernel.h"
#include "gallop/ops/moments.h"
#include "gallop/ops/tasks.h"

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

float* data_of(const at::Tensor& x, int64_t begin) {
  return x.defined() ? x.mutable_data_ptr<float>() + begin : nullptr;
}

}  // namespace

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

void adamw_step(const std::vector<AdamWTensors>& tensors, const AdamWStep& step) {
  if (!std::all_of(tensors.begin(), tensors.end(), fits)) {
    return adamw_step_reference(tensors, step);
  }
  check(tensors, step);
  const at::NoGradGuard no_grad;
  std::vector<Piece> pieces;
  std::vector<at::Tensor> gradients;
  int64_t numbers = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t count = tensors[i].value.numel();
    for (int64_t begin = 0; begin < count; begin += numbers_of_a_task) {
      pieces.push_back({i, begin, std::min(numbers_of_a_task, count - begin)});
    }
    gradients.push_back(tensors[i].gradient.contiguous());
    numbers += count;
  }
  const Moments moments = moments_of(step);
  for_each_task(static_cast<int64_t>(pieces.size()), numbers * work_of_a_number, [&](int64_t i) {
    const auto& [tensor, begin, count] = pieces[i];
    const AdamWTensors& t = tensors[tensor];
    step_moments(data_of(t.value, begin), gradients[tensor].const_data_ptr<float>() + begin,
                 data_of(t.mean, begin), data_of(t.square, begin), data_of(t.average, begin), count,
                 moments);
  });
}

}  // namespace gallop::ops
