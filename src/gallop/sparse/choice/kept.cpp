#include "gallop/sparse/choice/kept.h"

#include <ATen/ops/zeros.h>

namespace gallop::sparse {

at::Tensor Kept::weights_BLE() const {
  return at::zeros({samples() * tokens() * candidates()}, weights_P.options())
      .index_add(0, place_P(), weights_P)
      .reshape({samples(), tokens(), candidates()});
}

Kept keep(const Pairs& pairs, const at::Tensor& weights_BLE) {
  return {pairs, weights_BLE.reshape(-1).index_select(0, pairs.place_P())};
}

}  // namespace gallop::sparse
