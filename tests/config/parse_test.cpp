#include "gallop/config/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "gallop/base/error.h"
#include "tests/config/sample_recipe.h"

namespace gallop::config {
namespace {

namespace fs = std::filesystem;
using sample::RaceSettings;
using sample::Recipe;
using sample::TokenSettings;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Recipe read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Recipe recipe;
  load_text(recipe, text, "r.toml", overrides);
  return recipe;
}

template <class Act>
std::string error_of(Act act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string error_in(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return error_of([&] { read(text, overrides); });
}

/// A folder of recipes that goes away with the test.
class Folder {
 public:
  Folder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(::testing::TempDir()) / (std::string("gallop-config-") + test->name());
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
    return (path_ / name).string();
  }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

TEST(Parse, KeepsDefaultsOfWhatIsNotNamed) {
  const auto recipe = read("");
  EXPECT_EQ(recipe.name, "run");
  EXPECT_EQ(recipe.train.batch, 64);
  EXPECT_FALSE(recipe.model.depth.has_value());
}

TEST(Parse, SetsEveryType) {
  const auto recipe = read(R"(
name = "a \"b\""
seed = -5
[model]
depth = 7
ratio = 4
[model.mlp]
selection = { kind = "race", momentum = 0.5, start = 10 }
[train]
lr = 1
fused = false
schedule = "linear"
milestones = [10, 20]
betas = [0, 0.5]
frozen = ["x", "y.z"]
)");
  EXPECT_EQ(recipe.name, "a \"b\"");
  EXPECT_EQ(recipe.seed, -5);
  EXPECT_EQ(recipe.model.depth, 7);
  EXPECT_EQ(recipe.model.ratio, 4.0);
  EXPECT_EQ(recipe.model.mlp.selection.as<RaceSettings>().momentum, 0.5);
  EXPECT_EQ(recipe.model.mlp.selection.as<RaceSettings>().start, 10);
  EXPECT_EQ(recipe.train.lr, 1.0);
  EXPECT_FALSE(recipe.train.fused);
  EXPECT_EQ(recipe.train.schedule, "linear");
  EXPECT_THAT(recipe.train.milestones, ElementsAre(10, 20));
  EXPECT_THAT(recipe.train.betas, ElementsAre(0.0, 0.5));
  EXPECT_THAT(recipe.train.frozen, ElementsAre("x", "y.z"));
}

TEST(Parse, TakesAComponentAsStringAsTableAndAsTableWithoutKind) {
  EXPECT_EQ(read("model.mlp.selection = 'token'").model.mlp.selection.kind(), "token");
  const auto nested = read(R"(
[model.mlp.selection]
capacity = 3
kind = "token"
limits.most = 4
inner = { kind = "token", inner = "plain" }
)");
  const auto& settings = nested.model.mlp.selection.as<TokenSettings>();
  EXPECT_EQ(settings.capacity, 3);
  EXPECT_EQ(settings.limits.most, 4);
  EXPECT_EQ(settings.inner.as<TokenSettings>().inner.kind(), "plain");
  const auto same = read("model.mlp.selection.momentum = 0.25").model.mlp.selection;
  EXPECT_EQ(same.kind(), "race");
  EXPECT_EQ(same.as<RaceSettings>().momentum, 0.25);
}

TEST(Parse, UnknownKeyNamesPlaceValueAndNearestKey) {
  EXPECT_EQ(error_in("name = 'x'\n[model]\n  depht = 6\n"),
            "r.toml:3:3: model.depht = 6: unknown key depht in [model], did you mean 'depth'?");
  EXPECT_EQ(error_in("sede = 1"),
            "r.toml:1:1: sede = 1: unknown key sede in the recipe, did you mean 'seed'?");
  EXPECT_THAT(error_in("[modle]\nwidth = 3"), AllOf(StartsWith("r.toml:1:2: modle = { width = 3 }"),
                                                    HasSubstr("did you mean 'model'?")));
}

TEST(Parse, UnknownKeyThatBelongsElsewhereSaysWhere) {
  EXPECT_EQ(error_in("[model]\nbatch = 4"),
            "r.toml:2:1: model.batch = 4: unknown key batch in [model], did you mean "
            "train.batch?");
  EXPECT_THAT(error_in("momentun = 0.5"), HasSubstr("did you mean model.mlp.selection.momentum?"));
  EXPECT_THAT(error_in("[train]\nzzzzzz = 4"), HasSubstr("(known: 'batch', 'lr', 'fused'"));
}

TEST(Parse, UnknownSettingNamesTheKindThatHasIt) {
  EXPECT_EQ(error_in("[model.mlp]\nselection = { kind = 'token', momentum = 0.5 }"),
            "r.toml:2:31: model.mlp.selection.momentum = 0.5: unknown key momentum in "
            "[model.mlp.selection] (test_chooser 'token'), did you mean "
            "model.mlp.selection.inner.momentum or kind = \"race\", which has it?");
  EXPECT_THAT(error_in("[model.mlp]\nselection = { kind = 'plain', x = 1 }"),
              HasSubstr("(test_chooser 'plain') (known: 'kind')"));
}

TEST(Parse, ReportsTheFirstUnknownKeyOfTheText) {
  EXPECT_THAT(error_in("zz = 1\naa = 2"), StartsWith("r.toml:1:1: zz = 1"));
}

TEST(Parse, WrongTypeSaysWhatIsExpected) {
  EXPECT_EQ(error_in("\nseed = 1.5"), "r.toml:2:8: seed = 1.5: expects an integer, not a float");
  EXPECT_EQ(error_in("seed = '1'"), "r.toml:1:8: seed = \"1\": expects an integer, not a string");
  EXPECT_EQ(error_in("train.lr = true"),
            "r.toml:1:12: train.lr = true: expects a number, not a boolean");
  EXPECT_EQ(error_in("name = 3"), "r.toml:1:8: name = 3: expects a string, not an integer");
  EXPECT_EQ(error_in("train.fused = 1"),
            "r.toml:1:15: train.fused = 1: expects true or false, not an integer");
  EXPECT_EQ(error_in("model = 3"), "r.toml:1:9: model = 3: expects a table, not an integer");
  EXPECT_EQ(error_in("[[model]]\nwidth = 3"),
            "r.toml:1:1: model = [{ width = 3 }]: expects a table, not a list");
  EXPECT_EQ(error_in("train.milestones = 3"),
            "r.toml:1:20: train.milestones = 3: expects a list of integers, not an integer");
  EXPECT_EQ(error_in("train.milestones = [3,\n  4.0]"),
            "r.toml:2:3: train.milestones[1] = 4.0: expects an integer, not a float");
  EXPECT_EQ(error_in("train.frozen = [3]"),
            "r.toml:1:17: train.frozen[0] = 3: expects a string, not an integer");
  EXPECT_EQ(error_in("name = 2024-01-01"),
            "r.toml:1:8: name = (date or time): expects a string, not a date or time");
  EXPECT_EQ(error_in("model.mlp.selection = 3"),
            "r.toml:1:23: model.mlp.selection = 3: expects the name of a test_chooser or a table "
            "with `kind`, not an integer");
  EXPECT_EQ(error_in("model.mlp.selection.kind = 3"),
            "r.toml:1:28: model.mlp.selection.kind = 3: expects the name of a test_chooser or a "
            "table with `kind`, not an integer");
}

TEST(Parse, OutOfRangeSaysTheRange) {
  EXPECT_EQ(error_in("train.batch = 0"),
            "r.toml:1:15: train.batch = 0: out of range, must be >= 1");
  EXPECT_EQ(error_in("train.lr = 0"), "r.toml:1:12: train.lr = 0: out of range, must be > 0");
  EXPECT_EQ(error_in("train.lr = nan"), "r.toml:1:12: train.lr = nan: out of range, must be > 0");
  EXPECT_EQ(error_in("model.depth = 1001"),
            "r.toml:1:15: model.depth = 1001: out of range, must be 1 to 1000");
  EXPECT_EQ(error_in("train.betas = [0.5, 1.5]"),
            "r.toml:1:21: train.betas[1] = 1.5: out of range, must be 0 to 1");
  EXPECT_EQ(error_in("[model.mlp.selection]\nmomentum = -0.1"),
            "r.toml:2:12: model.mlp.selection.momentum = -0.1: out of range, must be 0 to 1");
}

TEST(Parse, ChoiceAndKindNameTheNearest) {
  EXPECT_EQ(error_in("train.schedule = 'cosin'"),
            "r.toml:1:18: train.schedule = \"cosin\": must be one of 'constant', 'cosine', "
            "'linear', did you mean 'cosine'?");
  EXPECT_EQ(error_in("model.mlp.selection = 'tokn'"),
            "r.toml:1:23: model.mlp.selection = \"tokn\": unknown test_chooser 'tokn', did you "
            "mean 'token'? (known: 'plain', 'race', 'token')");
}

TEST(Parse, ValidateNamesFileAndTable) {
  EXPECT_EQ(error_in("model.heads = 5"), "r.toml: [model]: width 12 is not divisible by heads 5");
  EXPECT_EQ(error_in("model.mlp.selection = { kind = 'token', capacity = 9 }"),
            "r.toml: [model.mlp.selection]: capacity 9 is above limits.most 8");
  // Only the result has to fit together, whatever the order.
  EXPECT_EQ(read("model.heads = 5", {"model.width=10"}).model.width, 10);
}

TEST(Override, TakesTomlAndFallsBackToAString) {
  const auto recipe =
      read("", {"model.size=S/4", "train.lr = 1e-4", "train.betas=[0.1, 0.2]", "model.depth=6",
                "train.fused=false", "name=7", "train.schedule='linear'"});
  EXPECT_EQ(recipe.model.size, "S/4");
  EXPECT_EQ(recipe.train.lr, 1e-4);
  EXPECT_THAT(recipe.train.betas, ElementsAre(0.1, 0.2));
  EXPECT_EQ(recipe.model.depth, 6);
  EXPECT_FALSE(recipe.train.fused);
  EXPECT_EQ(recipe.name, "7");
  EXPECT_EQ(recipe.train.schedule, "linear");
  EXPECT_EQ(read("", {"name="}).name, "");
  EXPECT_EQ(read("", {"name=a=b\nseed = 3"}).name, "a=b\nseed = 3");
  EXPECT_EQ(read("", {"name=1\nseed = 3"}).seed, 0);
}

TEST(Override, ReachesIntoComponents) {
  EXPECT_EQ(read("", {"model.mlp.selection=token"}).model.mlp.selection.kind(), "token");
  EXPECT_EQ(read("", {"model.mlp.selection.kind=token"}).model.mlp.selection.kind(), "token");
  const auto deep = read("", {"model.mlp.selection=token", "model.mlp.selection.inner=token",
                              "model.mlp.selection.inner.capacity=4"});
  EXPECT_EQ(deep.model.mlp.selection.as<TokenSettings>().inner.as<TokenSettings>().capacity, 4);
  // The same kind again keeps what is set, another one drops it.
  const std::string text = "model.mlp.selection.momentum = 0.5";
  const auto kept = read(text, {"model.mlp.selection=race"}).model.mlp.selection;
  EXPECT_EQ(kept.as<RaceSettings>().momentum, 0.5);
  const auto dropped =
      read(text, {"model.mlp.selection=token", "model.mlp.selection=race"}).model.mlp.selection;
  EXPECT_EQ(dropped.as<RaceSettings>().momentum, 0.99);
}

TEST(Override, ErrorsNameTheOverride) {
  EXPECT_EQ(error_in("", {"model.depht=6"}),
            "--set model.depht=6: model.depht = 6: unknown key depht in [model], did you mean "
            "'depth'?");
  EXPECT_EQ(error_in("", {"train.batch=0"}),
            "--set train.batch=0: train.batch = 0: out of range, must be >= 1");
  EXPECT_EQ(error_in("", {"seed=many"}),
            "--set seed=many: seed = \"many\": expects an integer, not a string");
  EXPECT_EQ(error_in("", {"seed"}), "--set seed: expected key=value, for example model.depth=6");
  EXPECT_EQ(error_in("", {"model..depth=3"}),
            "--set model..depth=3: a part of the key before '=' is empty");
  EXPECT_EQ(error_in("", {"=3"}), "--set =3: a part of the key before '=' is empty");
  EXPECT_THAT(error_in("", {"base=other.toml"}), HasSubstr("only be given in its file"));
  EXPECT_THAT(error_in("", {"name=\xff\xfe"}), HasSubstr("not valid UTF-8"));
  std::string deep = "a";
  for (int i = 0; i < 100000; ++i) deep += ".a";
  EXPECT_THAT(error_in("", {deep + "=1"}), HasSubstr("a key of more than 16 parts"));
}

TEST(Base, IsAppliedFirstAndRelativeToTheFile) {
  const Folder folder;
  folder.write("common/grand.toml", "seed = 1\nname = 'grand'\ntrain.milestones = [1, 2]\n");
  folder.write("parent.toml", R"(
base = "common/grand.toml"
name = "parent"
[train]
batch = 8
lr = 0.5
[model.mlp]
selection = { kind = "race", momentum = 0.5 }
)");
  const auto child = folder.write("child/child.toml", R"(
base = "../parent.toml"
[train]
batch = 16
milestones = [3]
[model.mlp.selection]
start = 4
)");
  Recipe recipe;
  load(recipe, child, {"train.lr=0.25"});
  EXPECT_EQ(recipe.seed, 1);
  EXPECT_EQ(recipe.name, "parent");
  EXPECT_EQ(recipe.train.batch, 16);
  EXPECT_EQ(recipe.train.lr, 0.25);
  EXPECT_THAT(recipe.train.milestones, ElementsAre(3));
  EXPECT_EQ(recipe.model.mlp.selection.as<RaceSettings>().momentum, 0.5);
  EXPECT_EQ(recipe.model.mlp.selection.as<RaceSettings>().start, 4);
}

TEST(Base, SettingsOfAKindThatTheChildReplacesAreDropped) {
  const Folder folder;
  folder.write("base.toml", "[model.mlp]\nselection = { kind = 'race', momentum = 0.5 }\n");
  Recipe recipe;
  load(recipe,
       folder.write("a.toml", "base = 'base.toml'\nmodel.mlp.selection = { kind = 'token' }\n"));
  EXPECT_EQ(recipe.model.mlp.selection.as<TokenSettings>().capacity, 2);
}

TEST(Base, MayBeAListAppliedInOrder) {
  const Folder folder;
  folder.write("one.toml", "seed = 1\nname = 'one'\n");
  folder.write("two.toml", "seed = 2\n");
  Recipe recipe;
  load(recipe, folder.write("all.toml", "base = ['one.toml', 'two.toml', 'one.toml', 'two.toml']"));
  EXPECT_EQ(recipe.seed, 2);
  EXPECT_EQ(recipe.name, "one");
}

TEST(Base, ErrorsNameTheFileOfTheKey) {
  const Folder folder;
  const auto base = folder.write("base.toml", "\n\n[train]\nbtch = 3\n");
  const auto child = folder.write("child.toml", "base = 'base.toml'\nseed = 3\n");
  Recipe recipe;
  EXPECT_EQ(error_of([&] { load(recipe, child); }),
            base + ":4:1: train.btch = 3: unknown key btch in [train], did you mean 'batch'?");
}

TEST(Base, CyclesMissingFilesAndWrongTypesAreErrors) {
  const Folder folder;
  const auto a = folder.write("a.toml", "seed = 1\nbase = 'b.toml'\n");
  const auto b = folder.write("b.toml", "base = './a.toml'\n");
  Recipe recipe;
  EXPECT_EQ(error_of([&] { load(recipe, a); }),
            b + ":1:8: base = \"./a.toml\": a cycle: a.toml -> b.toml -> a.toml");
  const auto self = folder.write("self.toml", "base = 'self.toml'\n");
  EXPECT_THAT(error_of([&] { load(recipe, self); }), HasSubstr("a cycle: self.toml -> self.toml"));
  const auto lost = folder.write("lost.toml", "base = 'nowhere.toml'\n");
  EXPECT_THAT(error_of([&] { load(recipe, lost); }),
              AllOf(StartsWith(lost + ":1:8: base = \"nowhere.toml\": "),
                    HasSubstr(folder.file("nowhere.toml"))));
  EXPECT_EQ(error_in("base = 3"),
            "r.toml:1:8: base = 3: expects a file name or a list of them, not an integer");
  EXPECT_EQ(error_in("base = ['']"),
            "r.toml:1:9: base = \"\": expects a file name or a list of them, not an empty string");
  EXPECT_THAT(error_of([&] { load(recipe, folder.file("none.toml")); }),
              HasSubstr(folder.file("none.toml")));
  EXPECT_THROW(load(recipe, folder.file("")), Error);
}

TEST(Base, ThatDoublesAtEachLevelIsRefused) {
  const Folder folder;
  for (int i = 0; i < 30; ++i) {
    const auto next = "'" + std::to_string(i + 1) + ".toml'";
    folder.write(std::to_string(i) + ".toml", "base = [" + next + ", " + next + "]\n");
  }
  folder.write("30.toml", "seed = 1\n");
  Recipe recipe;
  EXPECT_THAT(error_of([&] { load(recipe, folder.file("0.toml")); }),
              HasSubstr("more than 64 recipes in one"));
}

std::string repeated(const std::string& text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

TEST(Hostile, BrokenTomlIsAnErrorWithItsPlace) {
  EXPECT_THAT(error_in("seed = 1\nname = "), StartsWith("r.toml:2:"));
  EXPECT_THAT(error_in("seed = 1\nseed = 2"),
              AllOf(StartsWith("r.toml:2:"), HasSubstr("not valid TOML")));
  EXPECT_THAT(error_in("seed = 99999999999999999999"), StartsWith("r.toml:1:"));
  EXPECT_THAT(error_in("name = \"\xff\xfe\""), StartsWith("r.toml:1:"));
  EXPECT_THAT(error_in("\xc3"), HasSubstr("not valid TOML"));
  EXPECT_THAT(error_in(std::string("seed = 1\0", 9)), HasSubstr("not valid TOML"));
  EXPECT_THAT(error_in("name = '''abc"), HasSubstr("not valid TOML"));
  EXPECT_THAT(error_in("[model"), HasSubstr("not valid TOML"));
}

TEST(Hostile, DeepNestingIsAnError) {
  EXPECT_THROW(read("x = " + repeated("[", 100000) + repeated("]", 100000)), Error);
  EXPECT_THROW(read("x = " + repeated("{a=", 100000)), Error);
  EXPECT_THAT(error_in("x = " + repeated("[", 100) + repeated("]", 100)),
              HasSubstr("nested deeper than 64"));
  const auto key = "a" + repeated(".a", 200000);
  for (const auto& text :
       {key + " = 1", "[" + key + "]", "[[" + key + "]]", "x = { " + key + " = 1 }",
        "x = [\"\"\"b\"\"\"\", { " + key + " = 1 }]", "# '\n" + key + " = 1",
        "x = 'a\\', " + key + " = 1", "'b'" + repeated(" . \"\\\".=\"", 1000) + " = 1"}) {
    EXPECT_THAT(error_in(text), HasSubstr("a key of more than 16 parts")) << text.substr(0, 30);
  }
}

TEST(Hostile, DotsOutsideKeysAreFree) {
  const auto many = repeated("0.5, ", 100);
  EXPECT_EQ(read("train.betas = [" + many + "]  # " + repeated("a.", 100)).train.betas.size(), 100);
  const auto dots = repeated("a.", 100);
  EXPECT_EQ(read("name = \"" + dots + "\"").name, dots);
  EXPECT_EQ(read("name = '''\n" + dots + "'''").name, dots);
}

TEST(Hostile, LongTextIsRefusedAndLongValuesAreShortened) {
  EXPECT_THAT(error_in(repeated("# 3456789\n", 200000)), HasSubstr("2000000 bytes"));
  const auto text = error_in("seed = '" + std::string(100000, 'x') + "'");
  EXPECT_LT(text.size(), 200u);
  EXPECT_LT(error_in("", {"seed=" + std::string(100000, 'x')}).size(), 400u);
  EXPECT_THAT(error_in(std::string(100000, 'k') + " = 1"),
              HasSubstr("a key of 100000 bytes, at most 200 are allowed"));
  EXPECT_THAT(error_in("'a\tb' = 1"),
              AllOf(HasSubstr("unknown key \"a\\tb\" in"), Not(HasSubstr("\t"))));
  // 59 bytes, then a character of two: cut before it, not within.
  EXPECT_THAT(error_in("seed = '" + std::string(59, 'x') + "\xc3\xa9'"), HasSubstr("x\"...: "));
}

}  // namespace
}  // namespace gallop::config
