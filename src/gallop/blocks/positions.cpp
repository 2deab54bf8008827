#include "gallop/blocks/positions.h"

#include <vector>

namespace gallop::blocks {

namespace {

// The positions as an index of every number of a token of x.
at::Tensor index_of(const at::Tensor& x, at::Tensor positions_BK) {
  std::vector<int64_t> sizes = positions_BK.sizes().vec();
  for (int64_t dim = 2; dim < x.dim(); ++dim) {
    positions_BK = positions_BK.unsqueeze(-1);
    sizes.push_back(x.size(dim));
  }
  return positions_BK.expand(sizes);
}

}  // namespace

at::Tensor at_positions(const at::Tensor& x, const at::Tensor& positions_BK) {
  return x.gather(1, index_of(x, positions_BK));
}

at::Tensor put_positions(const at::Tensor& x, const at::Tensor& positions_BK,
                         const at::Tensor& part) {
  return x.scatter(1, index_of(x, positions_BK), part);
}

}  // namespace gallop::blocks
