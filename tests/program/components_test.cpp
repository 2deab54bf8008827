#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/program.h"

namespace gallop::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

TEST(Components, ListsEveryCategoryWithPapers) {
  const auto result = run_program({"components"});
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* category :
       {"gate", "selection", "router", "experts", "sparse-loss", "mlp", "stream", "denoiser",
        "names", "objective", "sampler", "task", "dataset", "optimizer", "schedule"}) {
    EXPECT_THAT("\n" + result.out, HasSubstr("\n" + std::string(category) + "\n"));
  }
  EXPECT_THAT(result.out, ContainsRegex("  race +one top-K over all .* arXiv 2503.16057"));
  EXPECT_THAT(result.out, ContainsRegex("  token +each token takes its K best"));
}

TEST(Components, ListsOneCategory) {
  const auto result = run_program({"components", "gate"});
  EXPECT_THAT(result.out, HasSubstr("identity"));
  EXPECT_THAT(result.out, Not(HasSubstr("race ")));
}

TEST(Components, AnUnknownCategoryNamesTheNearest) {
  const auto result = run_program({"components", "gates"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("did you mean 'gate'?"));
}

}  // namespace
}  // namespace gallop::test
