#include "gallop/ops/adamw_rows.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/ops/cpu/moments.h"
#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/kernel.h"

namespace gallop::ops {
namespace {

constexpr int64_t numbers_of_a_task = 8192;  // fewer than in a dense step: rows are far apart

bool fits(const AdamWRows& t) {
  if (!has_kernel({t.value, t.gradient, t.mean, t.square, t.gap})) return false;
  for (const at::Tensor& x : {t.value, t.mean, t.square, t.gap, t.clock}) {
    if (x.defined() && !x.is_contiguous()) return false;
  }
  return true;
}

void check_table(const AdamWRows& t) {
  require(t.value.defined() && t.value.dim() >= 1 && t.mean.defined() && t.square.defined(),
          "AdamW of rows: a table without values or moments");
  for (const at::Tensor& x : {t.mean, t.square, t.gap}) {
    require(!x.defined() || x.sizes() == t.value.sizes(), "AdamW of rows: a table of ",
            t.value.sizes(), " beside one of ", x.sizes());
  }
  require(t.gap.defined() == t.clock.defined(), "AdamW of rows: an average has gap and clock");
  if (!t.clock.defined()) return;
  require(t.clock.scalar_type() == at::kDouble && t.clock.dim() == 1 &&
              t.clock.size(0) == t.value.size(0),
          "AdamW of rows: the clock is one float64 a row, not ", t.clock.sizes(), " of ",
          t.clock.scalar_type());
}

void check_step(const AdamWRows& t, const AdamWStep& step) {
  check_table(t);
  require(step.step >= 1, "AdamW's steps count from 1, not ", step.step);
  require(t.rows.defined() && t.rows.dim() == 1 && t.rows.scalar_type() == at::kLong,
          "AdamW of rows: the rows are a vector of int64");
  std::vector<int64_t> shape = t.value.sizes().vec();
  shape[0] = t.rows.size(0);
  require(t.gradient.defined(), "AdamW of rows: rows without a gradient");
  require(t.gradient.sizes() == at::IntArrayRef(shape), "AdamW of rows: a gradient of ",
          t.gradient.sizes(), " for rows of ", at::IntArrayRef(shape));
}

// Threads would write the same row, or beside the table.
void check_order(const int64_t* rows, int64_t count, int64_t table) {
  int64_t before = -1;
  for (int64_t i = 0; i < count; ++i) {
    require(rows[i] > before && rows[i] < table, "AdamW of rows: row ", rows[i], " after ", before,
            " in a table of ", table, ": they must ascend, each once");
    before = rows[i];
  }
}

template <class T>
T* data_of(const at::Tensor& x) {
  return x.defined() ? x.mutable_data_ptr<T>() : nullptr;
}

int64_t width_of(const at::Tensor& table) {
  return table.size(0) == 0 ? 0 : table.numel() / table.size(0);
}

// What body(first row, end) finds in parts of `count` rows.
template <class Body>
AdamWBounds over_rows(int64_t count, int64_t width, const Body& body) {
  const Parts parts{count, std::max(int64_t{1}, numbers_of_a_task / std::max(width, int64_t{1}))};
  std::vector<Largest> found(parts.count());
  parallel_each(parts.count(), count * width * work_of_a_number, [&](int64_t i) {
    found[i] = body(parts.begin(i), parts.begin(i) + parts.length(i));
  });
  return bounds_of(found);
}

// kernel = step_rows or try_rows.
template <class Kernel>
AdamWBounds by_kernel(const AdamWRows& t, const AdamWStep& step, double clock,
                      const Kernel& kernel) {
  const at::Tensor rows = t.rows.contiguous(), gradient = t.gradient.contiguous();
  const int64_t count = rows.numel(), width = width_of(t.value);
  const auto* row = rows.const_data_ptr<int64_t>();
  check_order(row, count, t.value.size(0));
  const RowMoments table{data_of<float>(t.value), data_of<float>(t.mean), data_of<float>(t.square),
                         data_of<float>(t.gap), data_of<double>(t.clock)};
  const Moments moments = moments_of(step);
  const ClockTick tick{clock, clock_after(clock, step.average_decay),
                       static_cast<float>(step.average_decay)};
  const auto* gradients = gradient.const_data_ptr<float>();
  return over_rows(count, width, [&](int64_t begin, int64_t end) {
    return kernel(table, row + begin, gradients + begin * width, end - begin, width, moments, tick);
  });
}

// exp(clock - now) of each row, to be multiplied with its numbers.
at::Tensor held(const at::Tensor& clock, double now, const at::Tensor& table) {
  std::vector<int64_t> shape(table.dim(), 1);
  shape[0] = clock.size(0);
  return clock.sub(now).exp().to(table.scalar_type()).view(shape);
}

// The touched rows alone after the step, their gap included.
AdamWTensors stepped(const AdamWRows& t, const AdamWStep& step, double clock) {
  AdamWTensors own{t.value.index_select(0, t.rows), t.gradient.clone(),
                   t.mean.index_select(0, t.rows), t.square.index_select(0, t.rows), at::Tensor()};
  if (t.gap.defined()) {
    const at::Tensor gap = t.gap.index_select(0, t.rows);
    own.average = own.value.add(gap.mul(held(t.clock.index_select(0, t.rows), clock, gap)));
  }
  adamw_step_reference({own}, step);
  return own;
}

Largest largest_in(const RowMoments& t, int64_t begin, int64_t end) {
  const auto magnitude = [](float x) { return std::bit_cast<int32_t>(x) & 0x7fffffff; };
  Largest largest;
  for (int64_t i = begin; i < end; ++i) {
    const float average = t.gap == nullptr ? t.value[i] : t.value[i] + t.gap[i];
    largest.weight = std::max({largest.weight, magnitude(t.value[i]), magnitude(average)});
    largest.mean = std::max(largest.mean, magnitude(t.mean[i]));
    largest.square = std::max(largest.square, magnitude(t.square[i]));
  }
  return largest;
}

}  // namespace

double clock_after(double clock, double decay) {
  constexpr double most = 128;  // exp(-128) is 0 in float32
  return clock + std::min(most, -std::log(decay));
}

void adamw_rows_step_reference(const AdamWRows& t, const AdamWStep& step, double clock) {
  check_step(t, step);
  if (t.rows.numel() == 0) return;
  const at::NoGradGuard no_grad;
  const AdamWTensors after = stepped(t, step, clock);
  t.value.index_copy_(0, t.rows, after.value);
  t.mean.index_copy_(0, t.rows, after.mean);
  t.square.index_copy_(0, t.rows, after.square);
  if (!t.gap.defined()) return;
  t.gap.index_copy_(0, t.rows, after.average.sub(after.value));
  t.clock.index_fill_(0, t.rows, clock_after(clock, step.average_decay));
}

std::optional<AdamWBounds> adamw_rows_step(const AdamWRows& t, const AdamWStep& step,
                                           double clock) {
  if (!fits(t)) {
    adamw_rows_step_reference(t, step, clock);
    return {};
  }
  check_step(t, step);
  const at::NoGradGuard no_grad;
  return by_kernel(t, step, clock, step_rows);
}

AdamWBounds try_adamw_rows_step(const AdamWRows& t, const AdamWStep& step, double clock) {
  check_step(t, step);
  if (t.rows.numel() == 0) return AdamWBounds::of_nothing();
  const at::NoGradGuard no_grad;
  if (!fits(t)) return bounds_of(stepped(t, step, clock));
  return by_kernel(t, step, clock, try_rows);
}

AdamWBounds bounds_of(const AdamWRows& t) {
  check_table(t);
  const at::NoGradGuard no_grad;
  if (t.value.numel() == 0) return AdamWBounds::of_nothing();
  if (!has_kernel({t.value, t.mean, t.square, t.gap})) {
    const at::Tensor average = t.gap.defined() ? t.value.add(t.gap) : at::Tensor();
    return bounds_of(AdamWTensors{t.value, at::Tensor(), t.mean, t.square, average});
  }
  const at::Tensor value = t.value.contiguous(), mean = t.mean.contiguous(),
                   square = t.square.contiguous(),
                   gap = t.gap.defined() ? t.gap.contiguous() : t.gap;
  const RowMoments table{data_of<float>(value), data_of<float>(mean), data_of<float>(square),
                         data_of<float>(gap), nullptr};
  return over_rows(value.numel(), 1,
                   [&](int64_t begin, int64_t end) { return largest_in(table, begin, end); });
}

void write_average(const AdamWRows& t, double clock, const at::Tensor& average) {
  check_table(t);
  require(t.gap.defined() && average.sizes() == t.value.sizes(), "an average of ", average.sizes(),
          " of a table of ", t.value.sizes());
  const at::NoGradGuard no_grad;
  if (!fits(t) || !has_kernel({average}) || !average.is_contiguous()) {
    average.copy_(t.value.add(t.gap.mul(held(t.clock, clock, t.gap))));
    return;
  }
  const int64_t width = width_of(t.value);
  const auto *value = t.value.const_data_ptr<float>(), *gap = t.gap.const_data_ptr<float>();
  const auto* clocks = t.clock.const_data_ptr<double>();
  auto* to = average.mutable_data_ptr<float>();
  constexpr int64_t part = 1024;
  parallel_parts(t.value.size(0), part, width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto share = static_cast<float>(std::exp(clocks[row] - clock));
      for (int64_t i = row * width; i < (row + 1) * width; ++i) to[i] = value[i] + share * gap[i];
    }
  });
}

}  // namespace gallop::ops
