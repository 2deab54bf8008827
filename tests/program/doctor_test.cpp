#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <sstream>
#include <string>

#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

// Lines "name  value" of the report; a name is at most 14 characters wide.
std::map<std::string, std::string> facts(const std::string& report) {
  std::map<std::string, std::string> result;
  std::istringstream lines(report);
  for (std::string line; std::getline(lines, line);) {
    if (line.size() < 16 || line[14] != ' ') continue;
    const std::string name = line.substr(0, line.find_last_not_of(' ', 14) + 1);
    result[name] = line.substr(15);
  }
  return result;
}

TEST(Doctor, SaysWhatTheBuildStandsOn) {
  ProgramOptions options;
  options.env = {{"OMP_NUM_THREADS", "1"}};
  const auto result = run_program({"doctor"}, options);
  ASSERT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_EQ(result.err, "");
  auto fact = facts(result.out);

  EXPECT_THAT(fact["libtorch"], StartsWith("2.13."));
  const auto in = fact["libtorch"].find(" in ");
  ASSERT_NE(in, std::string::npos) << result.out;
  EXPECT_TRUE(fs::exists(fs::path(fact["libtorch"].substr(in + 4)) / "libtorch_cpu.so"))
      << fact["libtorch"];

  EXPECT_THAT(fact["threads"], StartsWith("1 on "));
  EXPECT_NE(fact["CPU"], "");
  const bool bf16 = fact["CPU features"].find("avx512_bf16") != std::string::npos;
  EXPECT_THAT(fact["bf16 products"], bf16 ? StartsWith("yes") : StartsWith("no: "));
  EXPECT_GT(std::stod(fact["memory"]), 0.0);
  EXPECT_NE(fact["GPUs"], "");
  EXPECT_THAT(result.out, HasSubstr("Gallop can run here."));

  // 2 * 1024^3 operations: time and speed must agree, and the speed be one that a CPU can have.
  double milliseconds = 0.0, gigaflops = 0.0;
  ASSERT_EQ(std::sscanf(fact["product"].c_str(), "1024^3 float32: %lf ms, %lf GFLOP/s",
                        &milliseconds, &gigaflops),
            2)
      << fact["product"];
  EXPECT_GT(gigaflops, 0.1);
  EXPECT_NEAR(milliseconds * gigaflops / (2.0 * 1024 * 1024 * 1024 * 1e-6), 1.0, 0.05);
}

TEST(Doctor, NamesTheCacheByTheRuleOfTheScript) {
  const TemporaryDirectory folder;
  ProgramOptions options;
  options.env = {{"GALLOP_CACHE", folder.path().string()}};
  EXPECT_EQ(facts(run_program({"doctor"}, options).out)["cache"], folder.path().string());
  options.env = {{"GALLOP_CACHE", ""}, {"XDG_CACHE_HOME", folder.path().string()}};
  EXPECT_EQ(facts(run_program({"doctor"}, options).out)["cache"],
            (folder / "gallop").string() + " (not there)");
}

TEST(Doctor, NamesThePackageOfMissingData) {
  const auto result = run_program({"doctor"});
  auto fact = facts(result.out);
  if (fact["Fashion-MNIST"] == "not found") {
    EXPECT_THAT(result.out, HasSubstr("apt-get install dataset-fashion-mnist"));
  } else {
    EXPECT_TRUE(fs::exists(fs::path(fact["Fashion-MNIST"]) / "train-images-idx3-ubyte.gz"));
  }
}

TEST(Doctor, TakesNoArguments) { EXPECT_EQ(run_program({"doctor", "--deep"}).status, 2); }

}  // namespace
}  // namespace gallop::test
