#include "gallop/formats/file_kind.h"

#include "fuzz/target.h"

namespace gallop::formats {

GALLOP_FUZZ_TARGET(file_kind) {
  volatile size_t length = describe(kind_of(bytes)).size();
  static_cast<void>(length);
}

}  // namespace gallop::formats
