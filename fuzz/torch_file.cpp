#include "gallop/formats/torch_file.h"

#include "fuzz/use.h"

namespace gallop::formats {

GALLOP_FUZZ_TARGET(torch_file) {
  TorchFile file(bytes, "torch");
  for (const auto& part : file.parts())
    fuzz::allowing_errors([&] { fuzz::use(file.tensors(part.key)); });
}

}  // namespace gallop::formats
