#include "gallop/training/optimizers/adamw_table.h"

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "gallop/base/error.h"

namespace gallop::training {

AdamWTable::AdamWTable(const nn::Parameter& table) : parameter_(&table) {
  const at::Tensor value = (*table).detach();
  for (at::Tensor* x : {&mean_, &square_, &gap_}) *x = at::zeros_like(value);
  clock_ = at::zeros({value.size(0)}, value.options().dtype(at::kDouble));
}

ops::AdamWRows AdamWTable::rows_of(const RowGradient& gradient, bool averaged) const {
  return {.value = (**parameter_).detach(),
          .mean = mean_,
          .square = square_,
          .rows = gradient.rows_U,
          .gradient = gradient.values_UD,
          .gap = averaged ? gap_ : at::Tensor(),
          .clock = averaged ? clock_ : at::Tensor()};
}

bool AdamWTable::refuses(const RowGradient& gradient, const ops::AdamWStep& step, double norm,
                         double clock) {
  if (ops::bounds_after(bounds_, step, norm).finite()) return false;
  const ops::AdamWRows rows = rows_of(gradient, true);
  if (!bounds_.finite()) bounds_ = ops::bounds_of(rows);
  if (ops::bounds_after(bounds_, step, norm).finite()) return false;
  return !ops::try_adamw_rows_step(rows, step, clock).finite();
}

void AdamWTable::step(const RowGradient& gradient, const ops::AdamWStep& step, double norm,
                      double clock, bool averaged) {
  const ops::AdamWBounds expected = ops::bounds_after(bounds_, step, norm);
  const auto found = ops::adamw_rows_step(rows_of(gradient, averaged), step, clock);
  bounds_.cover(found.value_or(expected));
  require(!found || bounds_.finite(), "AdamW: step ", step.step, " left rows of ",
          parameter_->name(),
          " or their moments NaN or infinite, which its arithmetic excludes: something else wrote "
          "to them, or memory is damaged; go on from the last checkpoint");
}

void AdamWTable::write_average(double clock, const at::Tensor& average) const {
  ops::write_average(rows_of({}, true), clock, average);
}

std::vector<std::pair<std::string, at::Tensor>> AdamWTable::state() const {
  const std::string name = parameter_->name();
  return {{"exp_avg." + name, mean_},
          {"exp_avg_sq." + name, square_},
          {"average_gap." + name, gap_},
          {"average_clock." + name, clock_}};
}

}  // namespace gallop::training
