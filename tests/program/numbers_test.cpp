// Numbers of the other subcommands: decimal, finite, in range, and the range said in short words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/file.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

using testing::HasSubstr;

void expect_error(const std::vector<std::string>& args, const std::string& text) {
  const ProgramResult result = run_program(args);
  EXPECT_EQ(result.status, 2) << text;
  EXPECT_THAT(result.err, HasSubstr(text));
  EXPECT_LT(result.err.size(), 300u) << result.err;
}

TEST(Numbers, OfCalibrate) {
  expect_error({"calibrate", "run", "--batches", "010x"}, "--batches: '010x' is no whole number");
  expect_error({"calibrate", "run", "--batches", "0"}, "it must be 1 to 1048576");
  expect_error({"calibrate", "run", "--batches", "18446744073709551617"}, "1 to 1048576");
  expect_error({"calibrate", "run", "--noise-ranges", "65"}, "it must be 1 to 64");
  expect_error({"calibrate", "run", "--active", "1,nan"}, "--active: 'nan' is no finite number");
  expect_error({"calibrate", "run", "--active", "1,0"}, "must be > 0");
  expect_error({"calibrate", "run", "--active", "1,,2"}, "'' is no finite number");
}

TEST(Numbers, OfForward) {
  for (const char* option : {"--rtol", "--atol"}) {
    expect_error({"forward", "r.toml", "--weights", "w", "--check", option, "inf"},
                 std::string(option) + ": 'inf' is no finite number");
    expect_error({"forward", "r.toml", "--weights", "w", "--check", option, "-1"}, ">= 0");
  }
}

TEST(Numbers, OfConvert) {
  const auto convert = [](const std::string& size) {
    return std::vector<std::string>{"convert", "in.safetensors", "out.safetensors", "--shard-size",
                                    size};
  };
  for (const char* size : {"0x10", "1.5GB", "-5", "5XB", "GB", "5 G B", "5GBB", "5bi", ""})
    expect_error(convert(size), "is no size");
  for (const char* size : {"0", "18446744073709551616", "99EB", "18446744073709551615k"})
    expect_error(convert(size), "is out of range");
  // Ten bytes, not eight: the size is fine, and the file is not there.
  for (const char* size : {"010", "5GB", "5 GiB", "5g", "7b"})
    expect_error(convert(size), "in.safetensors");
  expect_error({"convert", "in", "out", "--upcycle", "r.toml", "--router-noise", "nan"},
               "--router-noise: 'nan' is no finite number");
}

TEST(OneKeyTwice, IsRefused) {
  const TemporaryDirectory folder;
  write_file_atomically(folder / "r.toml", "seed = 1\n");
  expect_error({"train", (folder / "r.toml").string(), "--out", "a", "--set", "out=b"},
               "--out and --set out say the same thing");
  expect_error({"data", "info", "--kind", "idx", "--set", "task.data.source.kind=folder"},
               "--kind and --set task.data.source.kind say the same thing");
  expect_error({"data", "info", folder.path().string(), "--set", "task.data.source.path=b"},
               "the path and --set task.data.source.path say the same thing");
  // The kind of --set takes the path that was named, not a default.
  expect_error({"data", "info", folder.path().string(), "--set", "task.data.source.kind=folder"},
               folder.path().string());
}

}  // namespace
}  // namespace gallop::test
