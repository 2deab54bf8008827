#include "gallop/data/recognise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "tests/support/data_files.h"
#include "tests/support/temporary_directory.h"

namespace gallop::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Recognise, SaysWhatItLookedFor) {
  const test::TemporaryDirectory folder;
  const auto error = [](const fs::path& path) -> std::string {
    try {
      recognise_kind(path);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(error(folder / "none"), HasSubstr("there is no '"));
  EXPECT_THAT(error(folder.path()),
              AllOf(HasSubstr("no data that is known"), HasSubstr("cifar10 ("), HasSubstr("idx ("),
                    HasSubstr("latents (")));
  test::put_file(folder / "manifest.json", "{}");
  test::put_file(folder / "preview.png", "");
  EXPECT_THAT(error(folder.path()),
              HasSubstr("looks like folder and latents: say which with --kind"));
  EXPECT_THAT(error(folder / "manifest.json"), HasSubstr("neither a folder nor a recipe"));
}

}  // namespace
}  // namespace gallop::data
