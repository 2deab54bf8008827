#include "gallop/formats/idx.h"

#include "fuzz/use.h"

namespace gallop::formats {

GALLOP_FUZZ_TARGET(idx) {
  for (const size_t rank : {size_t{1}, size_t{3}})
    fuzz::allowing_errors([&] {
      const IdxArray array = decode_idx(bytes, rank, "idx");
      fuzz::use(std::as_bytes(std::span(array.data)));
    });
}

}  // namespace gallop::formats
