#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "gallop/ops/adamw.h"

namespace gallop::ops {

/// A table [N, ...] of which a step touches some rows, with what AdamW remembers of each. The rows
/// that it does not touch keep value and moments as they are.
///
/// The moving average of a row that is not touched goes on towards its value, which stays: the gap
/// between the two shrinks by the decay of every step. So it is the gap that is kept, as of the
/// step that touched the row last, and of each row when that was, on a clock that adds up
/// -log(decay): between two readings the gap shrinks by exp(earlier - later), however many steps
/// there were.
struct AdamWRows {
  at::Tensor value, mean, square;
  at::Tensor rows;        ///< int64 [U], ascending, each once
  at::Tensor gradient;    ///< [U, ...]
  at::Tensor gap, clock;  ///< [N, ...] and float64 [N]; undefined: there is no average
};

/// What the clock reads after a step by whose decay the average moves. A decay of 0 is more than
/// float32 can tell from it, so that the clock stays finite.
double clock_after(double clock, double decay);

/// One lazy step of AdamW (the rule of SparseAdam, with decoupled weight decay): the rows of the
/// gradient take the step that adamw_step would take, moments, weight decay and bias correction by
/// the number of the step included. In one pass over these rows; `clock` is its reading before.
/// Returns the exact bounds of what it wrote; nothing where the reference took the step.
std::optional<AdamWBounds> adamw_rows_step(const AdamWRows& rows, const AdamWStep& step,
                                           double clock);
/// The bounds of the rows that the step would leave, without taking it.
AdamWBounds try_adamw_rows_step(const AdamWRows& rows, const AdamWStep& step, double clock);
/// The same as adamw_rows_step by ATen: the rows are gathered, stepped as a tensor of their own and
/// put back.
void adamw_rows_step_reference(const AdamWRows& rows, const AdamWStep& step, double clock);

/// Of the whole table, its average included, whatever the rows of a step: reads all of it.
AdamWBounds bounds_of(const AdamWRows& table);
/// Writes the average of the whole table into `average` [N, ...], as of `clock`; the rows and the
/// gradient of a step are not read.
void write_average(const AdamWRows& table, double clock, const at::Tensor& average);

}  // namespace gallop::ops
