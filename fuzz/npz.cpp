#include "gallop/formats/npz.h"

#include "fuzz/use.h"
#include "gallop/formats/npy.h"

namespace gallop::formats {

GALLOP_FUZZ_TARGET(npz) {
  fuzz::allowing_errors([&] { fuzz::use(NpzReader(bytes, "npz").tensors()); });
  // Without the checksum of a zip file in the way.
  fuzz::use(std::vector<TensorView>{read_npy("npy", bytes)});
}

}  // namespace gallop::formats
