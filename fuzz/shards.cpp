#include "gallop/formats/shards.h"

#include <fstream>

#include "fuzz/use.h"
#include "tests/support/temporary_directory.h"

namespace gallop::formats {
namespace {

/// A folder with two shards, of one tensor each, beside an index that changes.
const test::TemporaryDirectory& folder() {
  static const test::TemporaryDirectory made;
  static const bool written = [] {
    const std::byte data[] = {std::byte{1}, std::byte{2}};
    write_safetensors(made / "1.safetensors", {{"a", DType::U8, {2}, data}});
    write_safetensors(made / "2.safetensors", {{"b", DType::I16, {1}, data}});
    return true;
  }();
  static_cast<void>(written);
  return made;
}

}  // namespace

GALLOP_FUZZ_TARGET(shards) {
  const fs::path index = folder() / "w.safetensors.index.json";
  std::ofstream(index, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  const WeightsReader reader(index);
  fuzz::use(reader.tensors());
}

}  // namespace gallop::formats
