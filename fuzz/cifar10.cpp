#include "fuzz/memory_file.h"
#include "tests/data/open_source.h"
#include "tests/support/temporary_directory.h"

namespace gallop::data {

GALLOP_FUZZ_TARGET(cifar10) {
  static const test::TemporaryDirectory folder;
  const fuzz::MemoryFile file(bytes);
  std::filesystem::remove(folder / "test_batch.bin");
  std::filesystem::create_symlink(file.path(), folder / "test_batch.bin");
  const auto data = test::open_source("kind = 'cifar10', path = '" + folder.path().string() + "'",
                                      {.split = "test"});
  for (int64_t i = 0; i < data->info().count; ++i) test::sample_of(*data, i);
}

}  // namespace gallop::data
