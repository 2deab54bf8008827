#pragma once

#include <ATen/core/Tensor.h>

namespace gallop::sparse {

/// Rows of length 1; a row of zeros stays.
at::Tensor unit_rows(const at::Tensor& x);

/// [..., E] cosines of the rows of x [..., D] and those of y [E, D].
at::Tensor cosines(const at::Tensor& x, const at::Tensor& y_ED);

}  // namespace gallop::sparse
