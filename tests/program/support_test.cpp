// The helpers that the other program tests stand on, and what every call of the program has in
// common.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <system_error>

#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

ProgramOptions shell() {
  ProgramOptions options;
  options.program = "/bin/sh";
  return options;
}

TEST(RunProgram, KeepsOutputErrorAndStatusApart) {
  const auto result = run_program({"-c", "echo one; echo two >&2; exit 7"}, shell());
  EXPECT_EQ(result.status, 7);
  EXPECT_EQ(result.out, "one\n");
  EXPECT_EQ(result.err, "two\n");
  EXPECT_FALSE(result.timed_out);
}

TEST(RunProgram, HandsOnInputFolderAndEnvironment) {
  const TemporaryDirectory folder;
  auto options = shell();
  options.cwd = folder.path();
  options.env = {{"GALLOP_TEST_VALUE", "a b"}};
  options.input = std::string(200000, 'x');
  const auto result = run_program({"-c", "pwd -P; echo \"$GALLOP_TEST_VALUE\"; wc -c"}, options);
  EXPECT_EQ(result.out, fs::canonical(folder.path()).string() + "\na b\n200000\n");
}

TEST(RunProgram, TellsASignalFromAStatus) {
  EXPECT_EQ(run_program({"-c", "kill -TERM $$"}, shell()).status, 128 + SIGTERM);
}

TEST(RunProgram, KillsWhatRunsTooLongWithItsChildren) {
  auto options = shell();
  options.timeout = milliseconds(200);
  const auto start = std::chrono::steady_clock::now();
  const auto result = run_program({"-c", "echo begun; sleep 60 & wait"}, options);
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.status, 128 + SIGKILL);
  EXPECT_EQ(result.out, "begun\n");
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(30));
}

TEST(RunProgram, CanBeInterrupted) {
  RunningProgram program(
      {"-c", "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"}, shell());
  ASSERT_TRUE(program.wait_for("ready"));
  EXPECT_FALSE(program.wait_for("never said", milliseconds(50)));
  program.signal(SIGINT);
  const auto result = program.wait();
  EXPECT_EQ(result.status, 5);
  EXPECT_EQ(result.out, "ready\ncaught\n");
}

TEST(RunProgram, SaysWhatCannotBeStarted) {
  ProgramOptions options;
  options.program = "/no/such/program";
  EXPECT_THROW(run_program({}, options), std::system_error);
}

TEST(TemporaryDirectory, LeavesNothingBehind) {
  fs::path path;
  {
    const TemporaryDirectory folder;
    path = folder.path();
    fs::create_directories(folder / "a/b");
    std::ofstream(folder / "a/b/file") << "x";
    fs::permissions(folder / "a", fs::perms::owner_read | fs::perms::owner_exec);
    EXPECT_TRUE(fs::exists(path));
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(Program, PrintsVersionAndHelp) {
  const auto version = run_program({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_THAT(version.out, testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+\n"));
  const auto help = run_program({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.out, HasSubstr("--version"));
}

TEST(Program, EndsWithTwoOnWhatItDoesNotKnow) {
  for (const auto& args : std::vector<std::vector<std::string>>{{}, {"gambol"}, {"--gambol"}}) {
    const auto result = run_program(args);
    EXPECT_EQ(result.status, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err, "");
  }
}

}  // namespace
}  // namespace gallop::test
