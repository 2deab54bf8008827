#include "gallop/formats/safetensors.h"

#include "fuzz/memory_file.h"
#include "fuzz/use.h"

namespace gallop::formats {

GALLOP_FUZZ_TARGET(safetensors) {
  const fuzz::MemoryFile file(bytes);
  const SafetensorsReader reader(file.path());
  fuzz::use(reader.tensors());
}

}  // namespace gallop::formats
