#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::ops {

/// A gradient of some rows of a table, a sparse COO tensor [N, ...] with one sparse dimension, with
/// its rows in ascending order and each once: what it held of a row is added up in the order in
/// which it lay there, so that no bit depends on the threads. One that is so already comes back as
/// it is. Throws Error for another layout, and for a row that the table does not have.
at::Tensor coalesce_rows(const at::Tensor& gradient);
/// The same by ATen, in an order of its own.
at::Tensor coalesce_rows_reference(const at::Tensor& gradient);

}  // namespace gallop::ops
