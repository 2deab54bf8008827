#include "gallop/formats/pickle.h"

#include "fuzz/use.h"
#include "gallop/formats/torch_file.h"
#include "tests/support/zip_bytes.h"

namespace gallop::formats {

// The bytes are the data.pkl of a checkpoint, whose checksum is right whatever they are.
GALLOP_FUZZ_TARGET(pickle) {
  const std::string pickle(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string content = test::zip_bytes({{"a/data.pkl", pickle},
                                               {"a/data/0", std::string(48, '\1')},
                                               {"a/data/1", std::string(16, '\2')}});
  TorchFile file(std::as_bytes(std::span(content)), "torch");
  for (const auto& part : file.parts())
    fuzz::allowing_errors([&] { fuzz::use(file.tensors(part.key)); });
}

}  // namespace gallop::formats
