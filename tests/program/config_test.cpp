#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/file.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class ConfigCommand : public ::testing::Test {
 protected:
  ProgramResult config(std::vector<std::string> args) const {
    args.insert(args.begin(), "config");
    return run_program(args);
  }
  std::string write(const std::string& name, const std::string& text) const {
    write_file_atomically(folder / name, text);
    return (folder / name).string();
  }
  const TemporaryDirectory folder;
};

constexpr const char* kRecipe =
    "seed = 5\n"
    "[task.model]\nkind = \"dit\"\nsize = \"S/4\"\ndepth = 3\n"
    "[task.model.mlp]\nkind = \"moe\"\nsetting = \"4-in-16\"\ngate = \"sigmoid\"\n";

TEST_F(ConfigCommand, PrintsTheRecipeAsResolved) {
  const auto result = config({write("tiny.toml", kRecipe)});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("seed = 5\n"));
  EXPECT_THAT(result.out, HasSubstr("name = \"tiny\"\n"));  // of the file
  EXPECT_THAT(result.out, HasSubstr("out = \"runs/tiny\"\n"));
  EXPECT_THAT(result.out, HasSubstr("depth = 3\n"));
  EXPECT_THAT(result.out, HasSubstr("gate = \"sigmoid\"\n"));
  EXPECT_THAT(result.out, HasSubstr("batch = 64\n"));  // a default
  EXPECT_EQ(result.err, "");
}

TEST_F(ConfigCommand, WhatItPrintsIsARecipeOfTheSame) {
  const auto first = config({write("tiny.toml", kRecipe), "--set", "train.batch=7"});
  const auto second = config({write("again.toml", first.out)});
  ASSERT_EQ(second.status, 0) << second.err;
  EXPECT_EQ(first.out, second.out);
  const auto commented = config({write("again.toml", first.out), "--comments"});
  EXPECT_THAT(commented.out, HasSubstr("# optimizer steps of the whole run"));
  EXPECT_EQ(config({write("commented.toml", commented.out)}).out, first.out);
}

TEST_F(ConfigCommand, SetChangesKeysInOrder) {
  const auto result =
      config({"--set", "task.model.depth=6", "--set", "train.batch=3", write("tiny.toml", kRecipe),
              "--set", "task.model.mlp.setting=2-in-8", "--set", "train.batch=4"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("depth = 6\n"));
  EXPECT_THAT(result.out, HasSubstr("batch = 4\n"));
  EXPECT_THAT(result.out, HasSubstr("setting = \"2-in-8\"\n"));
}

TEST_F(ConfigCommand, InheritsABase) {
  write("base.toml", kRecipe);
  const auto result =
      config({write("child.toml", "base = \"base.toml\"\n[task.model]\ndepth = 9\n")});
  EXPECT_THAT(result.out, HasSubstr("depth = 9\n"));
  EXPECT_THAT(result.out, HasSubstr("size = \"S/4\"\n"));
}

struct WrongRecipe {
  const char* name;
  const char* text;
  std::vector<std::string> messages;
};

class WrongConfig : public ConfigCommand, public ::testing::WithParamInterface<WrongRecipe> {};

TEST_P(WrongConfig, IsOneClearErrorAndStatus2) {
  const auto result = config({write("wrong.toml", GetParam().text)});
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, StartsWith("gallop: error: "));
  for (const std::string& message : GetParam().messages) {
    EXPECT_THAT(result.err, HasSubstr(message));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, WrongConfig,
    ::testing::Values(
        WrongRecipe{"UnknownKey", "[train]\nbach = 3\n", {"wrong.toml:2", "bach", "'batch'"}},
        WrongRecipe{
            "UnknownTable", "[modle]\ndepth = 3\n", {"wrong.toml:1", "modle", "task.model"}},
        WrongRecipe{"UnknownKind",
                    "[task.model.mlp]\nkind = \"moe\"\nselection = \"rase\"\n",
                    {"wrong.toml:3", "rase", "'race'"}},
        WrongRecipe{"WrongType", "[train]\nsteps = \"many\"\n", {"wrong.toml:2", "many"}},
        WrongRecipe{"OutOfRange", "[train]\nsteps = 0\n", {"wrong.toml:2", "train.steps", ">= 1"}},
        WrongRecipe{"TooManyExperts",
                    "[task.model.mlp]\nkind = \"moe\"\nsetting = \"9-in-8\"\n",
                    {"wrong.toml", "9 active experts of 8"}},
        WrongRecipe{"NoToml", "[train\n", {"wrong.toml:1"}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(ConfigCommand, AMissingRecipeIsAnError) {
  const auto result = config({(folder / "none.toml").string()});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("none.toml"));
  EXPECT_EQ(config({}).status, 2);
}

TEST_F(ConfigCommand, AWrongOverrideNamesItself) {
  const auto result = config({write("tiny.toml", kRecipe), "--set", "train.bach=3"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("--set train.bach=3"));
  EXPECT_THAT(result.err, HasSubstr("'batch'"));
}

TEST_F(ConfigCommand, ReferenceDocumentsKeysOfTablesAndKinds) {
  const auto text = config({"--reference"});
  ASSERT_EQ(text.status, 0) << text.err;
  for (const char* part : {"[train]", "    batch: integer, >= 1, default 64", "kind = \"race\"",
                           "    momentum: float, 0 to 1, default 0.99"}) {
    EXPECT_THAT(text.out, HasSubstr(part));
  }
  EXPECT_THAT(config({"--reference", "--markdown"}).out,
              HasSubstr("| `batch` | integer | `64` | >= 1 |"));
}

TEST_F(ConfigCommand, OptionsThatExcludeEachOther) {
  EXPECT_EQ(config({write("tiny.toml", kRecipe), "--reference"}).status, 2);
  EXPECT_EQ(config({write("tiny.toml", kRecipe), "--markdown"}).status, 2);
}

}  // namespace
}  // namespace gallop::test
