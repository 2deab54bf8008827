// Documentation that is made from the program says what the program says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/file.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"

namespace gallop::test {
namespace {

using testing::HasSubstr;

std::string document(const std::string& name) {
  return read_file(fs::path(source_folder) / "docs" / name);
}

// EXPECT_TRUE and not EXPECT_EQ: the difference of two long documents helps nobody.
TEST(Docs, ComponentTableIsThatOfTheProgram) {
  EXPECT_TRUE(document("component-table.md") == run_program({"components", "--markdown"}).out)
      << "write it again: ./dev run components --markdown > docs/component-table.md";
}

TEST(Docs, RecipeReferenceIsThatOfTheProgram) {
  EXPECT_TRUE(document("recipe-reference.md") ==
              run_program({"config", "--reference", "--markdown"}).out)
      << "write it again: ./dev run config --reference --markdown > docs/recipe-reference.md";
}

TEST(Docs, ExamplesAreThoseThatTheTestsCompile) {
  const std::string components = document("components.md");
  for (const char* name :
       {"softplus_gate.cpp", "above_selection.cpp", "above_mean.cpp", "scale_experts.cpp",
        "largest_error.h", "largest_error.cpp", "categories.h"}) {
    const std::string source = read_file(fs::path(source_folder) / "tests" / "examples" / name);
    EXPECT_TRUE(components.find("```cpp\n" + source + "```\n") != std::string::npos)
        << "docs/components.md does not quote tests/examples/" << name;
  }
}

}  // namespace
}  // namespace gallop::test
