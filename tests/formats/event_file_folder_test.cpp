#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "gallop/formats/event_file.h"
#include "tests/support/errors.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/temporary_directory.h"

namespace gallop::formats {
namespace {

using ::gallop::testing::message_of;
using test::FailingFileSystem;
using test::TemporaryDirectory;
using ::testing::HasSubstr;

// After a write that failed the writer looks for a new name. A folder that cannot be looked at by
// then (here a link to itself, as a stale mount would be) is an Error like others.
TEST(EventFileFolder, ThatCannotBeLookedAtIsAnError) {
  const TemporaryDirectory parent;
  const fs::path folder = parent / "run";
  FailingFileSystem files(FailingFileSystem::Fault::fail, 3);
  const auto guard = replace_file_system(files);
  EventWriter writer(folder);                        // 0 folder, 1 create, 2 version
  EXPECT_THROW(writer.scalar("loss", 1, 1), Error);  // 3
  fs::remove_all(folder);
  fs::create_directory_symlink(folder, folder);
  std::error_code error;
  ASSERT_FALSE(fs::exists(folder / "x", error));
  ASSERT_TRUE(error) << "the folder can be looked at";
  EXPECT_THAT(message_of([&] { writer.scalar("loss", 2, 2); }), HasSubstr("cannot write"));
}

}  // namespace
}  // namespace gallop::formats
