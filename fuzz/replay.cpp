#include "fuzz/target.h"
#include "gallop/base/file.h"

namespace gallop::fuzz {

void replay(const char* name, const std::function<void(Bytes)>& target) {
  const auto files = list_folder(fs::path(GALLOP_TEST_DATA) / "fuzz" / name);
  EXPECT_FALSE(files.empty());
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.string());
    const std::string content = read_file(file);
    EXPECT_NO_THROW(allowing_errors([&] { target(std::as_bytes(std::span(content))); }));
  }
}

}  // namespace gallop::fuzz
