#include "gallop/config/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "gallop/base/error.h"
#include "gallop/config/describe.h"
#include "tests/config/sample_recipe.h"

namespace gallop::config {
namespace {

using sample::Recipe;
using ::testing::HasSubstr;
using ::testing::Not;

/// All keys of all tables below a struct, found without the code under test.
void names(Struct& config, std::vector<std::string>& out) {
  for (const auto& field : describe(config)) {
    out.push_back(field.key);
    if (field.table) names(*field.table, out);
    if (field.component) names(field.component->settings(), out);
  }
}

TEST(Reference, ContainsEveryKeyInBothLayouts) {
  Recipe recipe;
  std::vector<std::string> keys;
  names(recipe, keys);
  ASSERT_GT(keys.size(), 18u);
  const auto text = reference_text(recipe), markdown = reference_markdown(recipe);
  for (const auto& key : keys) {
    const bool table = key == "model" || key == "train" || key == "mlp";
    EXPECT_THAT(text, HasSubstr(table ? key + "]" : "    " + key + ": ")) << key;
    EXPECT_THAT(markdown, HasSubstr(table ? key + "]" : "| `" + key + "` |")) << key;
  }
}

TEST(Reference, GivesTypeRangeDefaultAndMeaning) {
  Recipe recipe;
  const auto text = reference_text(recipe);
  EXPECT_THAT(text, HasSubstr("    batch: integer, >= 1, default 64\n        Samples a step.\n"));
  EXPECT_THAT(text, HasSubstr("    depth: integer, 1 to 1000, default derived\n"));
  EXPECT_THAT(text, HasSubstr("    selection: kind of test_chooser, default \"race\"\n"));
  EXPECT_THAT(text, HasSubstr("    betas: list of floats, each 0 to 1, default [0.9, 0.99]\n"));
  const auto markdown = reference_markdown(recipe);
  EXPECT_THAT(markdown,
              HasSubstr("| `schedule` | string | `\"cosine\"` | \"constant\" \\| \"cosine\" \\| "
                        "\"linear\" | Shape of the learning rate. |\n"));
}

TEST(Reference, ListsEveryKindWithItsPaperAndSettings) {
  Recipe recipe;
  const auto text = reference_text(recipe);
  EXPECT_THAT(text, HasSubstr("== kinds of test_chooser =="));
  EXPECT_THAT(text, HasSubstr("kind = \"race\"\n  all pairs compete [arXiv 0000.00001]\n"
                              "    momentum: float, 0 to 1, default 0.99\n"));
  EXPECT_THAT(text, HasSubstr("    limits.most: integer, >= 1, default 8\n"));
  EXPECT_THAT(text, HasSubstr("    inner: kind of test_chooser, default \"race\"\n"));
  EXPECT_THAT(reference_markdown(recipe), HasSubstr("\n### `token`\n\neach token chooses\n"));
}

TEST(Reference, TextFitsATerminal) {
  Recipe recipe;
  std::istringstream lines(reference_text(recipe));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST(Components, OneLineAKind) {
  EXPECT_EQ(component_text("test_chooser"),
            "test_chooser\n"
            "  plain  keeps | everything [arXiv 0000.00002]\n"
            "  race   all pairs compete [arXiv 0000.00001]\n"
            "  token  each token chooses\n");
  // Among other categories, whose longest kind sets the column.
  EXPECT_THAT(component_text(), testing::ContainsRegex(
                                    "test_chooser\n  plain +keeps . everything .arXiv 0000.00002.\n"
                                    "  race +all pairs compete .arXiv 0000.00001.\n"
                                    "  token +each token chooses\n"));
  EXPECT_THAT(component_markdown("test_chooser"),
              HasSubstr("| test_chooser | `plain` | keeps \\| everything | arXiv 0000.00002 |\n"));
}

TEST(Components, UnknownCategoryNamesTheNearest) {
  try {
    component_text("test_choser");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'test_chooser'?"));
  }
  EXPECT_THROW(component_markdown("test_choser"), Error);
}

}  // namespace
}  // namespace gallop::config
