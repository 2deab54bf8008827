// What the command line of `gallop sample` says is taken exactly, or refused: labels, numbers,
// kinds and their settings, sizes without data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>

#include "gallop/base/file.h"
#include "gallop/formats/safetensors.h"
#include "tests/support/idx_files.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class SampleChoices : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = std::make_unique<TemporaryDirectory>();
    write_idx_files(*shared_ / "data", 48, 12, 8, 6);
    std::ofstream(*shared_ / "tiny.toml")
        << R"(
threads = 1
task.data.source = { kind = "idx", path = ")"
        << (*shared_ / "data").string()
        << R"(", class_names = ["A", "B", "C", "a", "b, c", "none"] }
task.model = { depth = 1, width = 16, heads = 2, patch = 2, mlp = { kind = "moe", setting = "2-in-4" } }
train = { steps = 4, batch = 6 }
optimizer = { kind = "adamw", lr = 3e-2 }
ema = { decay = 0.9, warmup = true }
eval = { every = 0 }
sample = { every = 0, per_class = 2, steps = 2, sampler = { kind = "heun", end = 0.9 } }
)";
    train("run", {});
  }
  static void TearDownTestSuite() { shared_.reset(); }

  static void train(const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> args = {"train", (*shared_ / "tiny.toml").string(), "--out",
                                     (*shared_ / out).string()};
    args.insert(args.end(), more.begin(), more.end());
    const ProgramResult result = run_program(args);
    ASSERT_EQ(result.status, 0) << result.err;
  }

  ProgramResult run(const std::vector<std::string>& more, const std::string& weights = "run") {
    std::vector<std::string> args = {"sample", (*shared_ / weights).string()};
    args.insert(args.end(), more.begin(), more.end());
    return run_program(args, {.cwd = folder_.path()});
  }
  /// `name` of the dump that these arguments make.
  template <class T>
  std::vector<T> drawn(const std::string& name, std::vector<std::string> more,
                       const std::string& weights = "run") {
    more.insert(more.end(), {"--out", "dump.safetensors"});
    const ProgramResult result = run(more, weights);
    EXPECT_EQ(result.status, 0) << result.err;
    if (result.status != 0) return {};
    const formats::SafetensorsReader reader(folder_ / "dump.safetensors");
    const formats::TensorView* view = reader.find(name);
    std::vector<T> values(view == nullptr ? 0 : view->data.size() / sizeof(T));
    if (view != nullptr) std::memcpy(values.data(), view->data.data(), view->data.size());
    fs::remove(folder_ / "dump.safetensors");
    return values;
  }
  std::vector<int64_t> labels(const std::vector<std::string>& more) {
    std::vector<std::string> args = more;
    args.insert(args.end(), {"--steps", "1"});
    return drawn<int64_t>("labels", args);
  }
  /// Status 2, no file, and a short error with this text.
  void expect_refused(const std::vector<std::string>& args, const std::string& text,
                      const std::string& weights = "run") {
    const ProgramResult result = run(args, weights);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(text));
    EXPECT_LT(result.err.size(), 700u) << result.err;
    EXPECT_TRUE(fs::is_empty(folder_.path())) << text;
  }

  static std::unique_ptr<TemporaryDirectory> shared_;
  TemporaryDirectory folder_;
};
std::unique_ptr<TemporaryDirectory> SampleChoices::shared_;

TEST_F(SampleChoices, LabelsAreTakenExactly) {
  EXPECT_THAT(labels({"--labels", "a,A,c", "--count", "3"}), ElementsAre(3, 0, 2));
  EXPECT_THAT(labels({"--labels", "\"b, c\",none,@none,4", "--count", "4"}),
              ElementsAre(4, 5, 6, 4));
  EXPECT_THAT(labels({"--label", "b, c", "--label", "B", "--count", "2"}), ElementsAre(4, 1));
}

TEST_F(SampleChoices, TheNumberOfClassesIsNoLabel) {
  expect_refused({"--labels", "6"}, "label 6 is out of range: the model knows 0 to 5");
  expect_refused({"--labels", "@6"}, "label 6 is out of range");
}

TEST_F(SampleChoices, SaysWhichLabelsItDrew) {
  const ProgramResult result = run({"--labels", "a,4,@none", "--steps", "1"});
  EXPECT_THAT(result.out, HasSubstr("labels 3 'a', 4 'b, c', none\n"));
}

TEST_F(SampleChoices, WholeNumbersAreDecimal) {
  const ProgramResult ten = run({"--seed", "010", "--count", "1", "--steps", "1"});
  EXPECT_THAT(ten.out, HasSubstr("seed 10,"));
  const ProgramResult largest =
      run({"--seed", "18446744073709551615", "--count", "1", "--steps", "1"});
  EXPECT_THAT(largest.out, HasSubstr("seed 18446744073709551615,"));
  EXPECT_THAT(labels({"--first", "000010", "--count", "1"}), ElementsAre(4)) << "10 modulo 6";
  EXPECT_THAT(labels({"--first", "9223372036854775805", "--count", "2"}).size(), 2u);
}

TEST_F(SampleChoices, WholeNumbersOutsideTheirRangeAreRefusedInShortWords) {
  expect_refused({"--seed", "18446744073709551616"}, "at least 0 and below 2^64");
  expect_refused({"--seed=-1"}, "--seed: '-1' is out of range");
  expect_refused({"--seed", "1e3"}, "is no whole number");
  expect_refused({"--first", "0x10"}, "--first: '0x10' is no whole number");
  expect_refused({"--first", "9223372036854775807", "--count", "2"}, "2^63 - 1");
  expect_refused({"--first", "9223372036854775808"}, "at least 0 and below 2^63");
  expect_refused({"--count", "99999999999999999999"}, "--count: '99999999999999999999'");
  expect_refused({"--count", "9000000000000000000"}, "draw them in parts");
  expect_refused({"--count", "0"}, "it must be at least 1");
  expect_refused({"--batch", "0"}, "it must be at least 1");
  expect_refused({"--steps", "1000001"}, "1 to 1000000");
  expect_refused({"--int8", "--int8-check", "-1"}, "--int8-check");
}

TEST_F(SampleChoices, ALargeBatchIsAllThereIs) {
  EXPECT_THAT(labels({"--batch", "9223372036854775807", "--count", "3"}), ElementsAre(0, 1, 2));
}

TEST_F(SampleChoices, NumbersAreFinite) {
  expect_refused({"--guidance", "nan"}, "--guidance: 'nan' is no finite number; it must be >= 0");
  expect_refused({"--guidance", "inf"}, "is no finite number");
  expect_refused({"--guidance", "1e999"}, "is no finite number");
  expect_refused({"--guidance=-1"}, "must be >= 0");
  expect_refused({"--set", "task.sample.guidance=inf"}, "must be finite and >= 0");
  expect_refused({"--set", "task.sample.guidance=nan"}, "out of range");
  expect_refused({"--guidance-interval", "0.1,nan"}, "is no finite number");
  expect_refused({"--guidance-interval", "0.1"}, "takes two noise levels");
  expect_refused({"--active", "0"}, "must be > 0");
}

// The label of one class carries its samples beyond the largest float.
TEST_F(SampleChoices, SamplesThatAreNotFiniteAreAnErrorAndNoPicture) {
  const fs::path far = *shared_ / "far", run_folder = *shared_ / "run";
  fs::create_directories(far);
  fs::copy_file(run_folder / "config.toml", far / "config.toml");
  {
    const formats::SafetensorsReader reader(run_folder /
                                            "checkpoints/step-00000004/ema.safetensors");
    std::vector<formats::TensorView> views = reader.tensors();
    std::vector<float> table;
    for (formats::TensorView& view : views) {
      if (view.name != "y_embedder.embedding_table.weight") continue;
      table.resize(view.data.size() / sizeof(float));
      std::memcpy(table.data(), view.data.data(), view.data.size());
      const size_t width = table.size() / static_cast<size_t>(view.shape.at(0));
      std::fill_n(table.begin() + static_cast<std::ptrdiff_t>(width), width, 3e38F);
      view.data = std::as_bytes(std::span(table));
    }
    ASSERT_FALSE(table.empty());
    formats::write_safetensors(far / "model.safetensors", views, reader.metadata());
  }
  for (const char* out : {"a.png", "a.safetensors"}) {
    const ProgramResult result = run(
        {"--labels", "A,B", "--first", "6", "--count", "4", "--out", out}, "far/model.safetensors");
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.err, HasSubstr("sample 7 (label 1) is not finite"));
    EXPECT_TRUE(fs::is_empty(folder_.path())) << out;
  }
  const ProgramResult others = run({"--labels", "A,C", "--out", "a.png"}, "far/model.safetensors");
  EXPECT_EQ(others.status, 0) << others.err;
}

TEST_F(SampleChoices, TheSamplerComesBeforeItsSettings) {
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--count", "2"});
    return drawn<float>("samples", more);
  };
  const auto plain = with({"--sampler", "euler"});
  const auto half = with({"--sampler", "euler", "--set", "task.sample.sampler.end=0.3"});
  EXPECT_NE(plain, half) << "the key has an effect";
  EXPECT_EQ(half,
            with({"--set", "task.sample.sampler.end=0.3", "--set", "task.sample.sampler=euler"}));
  const auto noisy = with({"--sampler", "euler-maruyama", "--set", "task.sample.sampler.norm=0.5"});
  EXPECT_NE(noisy, with({"--sampler", "euler-maruyama"}));
  expect_refused({"--sampler", "euler-maruyama", "--set", "task.sample.sampler.end=0.3"},
                 "unknown key end");
}

TEST_F(SampleChoices, SaysThatAnotherSamplerDropsTheSettingsOfTheRecipe) {
  const ProgramResult result = run({"--sampler", "euler", "--count", "1"});
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("'heun' of the recipe is replaced"), HasSubstr("end = 0.9")));
}

TEST_F(SampleChoices, AnOptionAndSetOfTheSameKeyAreRefused) {
  expect_refused({"--steps", "3", "--set", "task.sample.steps=4"},
                 "--steps and --set task.sample.steps say the same thing");
  expect_refused({"--sampler", "euler", "--set", "task.sample.sampler=heun3"},
                 "--sampler and --set");
  expect_refused({"--sampler", "euler", "--set", "sample={sampler={kind='heun3'}}"},
                 "--sampler and --set");
  expect_refused({"--guidance", "2", "--set", "task.sample.guidance=3"}, "give one of the two");
  expect_refused({"--seed", "2", "--set", "seed=3"}, "give one of the two");
  expect_refused({"--int8", "--int8-check", "3", "--set", "task.eval.samples=4"},
                 "give one of the two");
  expect_refused({"--int8-check", "3"}, "belongs to --int8");
}

// Weights with a recipe that states the sizes, and no data anywhere.
TEST_F(SampleChoices, WeightsAndStatedSizesAreEnough) {
  const fs::path bare = folder_ / "bare";
  fs::create_directories(bare);
  {
    const formats::SafetensorsReader reader(*shared_ /
                                            "run/checkpoints/step-00000004/ema.safetensors");
    formats::write_safetensors(bare / "model.safetensors", reader.tensors(), {});
  }
  const std::string model =
      "depth = 1, width = 16, heads = 2, patch = 2, mlp = { kind = \"moe\", setting = \"2-in-4\" }";
  const auto recipe = [&](const std::string& sizes, const std::string& rest = "") {
    std::ofstream(bare / "config.toml") << "model = { " << model << sizes << " }\n" << rest;
  };
  const auto sample = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = {
        "sample", (bare / "model.safetensors").string(), "--steps", "1", "--count", "2",
        "--out",  (folder_ / "a.png").string()};
    args.insert(args.end(), more.begin(), more.end());
    return run_program(args, {.cwd = folder_.path()});
  };
  recipe(", channels = 1, image = 8, classes = 6");
  ProgramResult result = sample({"--labels", "5,none"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(fs::exists(folder_ / "a.png"));
  EXPECT_THAT(result.out, HasSubstr("labels 5, none\n"));
  // What needs the data says so; it is not Fashion-MNIST's.
  EXPECT_THAT(run_program({"calibrate", (bare / "model.safetensors").string()}).err,
              HasSubstr("the recipe names none"));

  recipe("");
  result = sample({});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("task.model.channels, task.model.image and task.model.classes"),
                    Not(HasSubstr("fashion"))));
  result = sample({"--set", "task.model.channels=1", "--set", "task.model.image=8", "--set",
                   "task.model.classes=6"});
  EXPECT_EQ(result.status, 0) << result.err;

  recipe(", channels = 1, image = 8, classes = 6",
         "task.data.source = { kind = \"idx\", path = \"nowhere\", class_names = [\"p\", \"q\", "
         "\"r\", "
         "\"s\", \"t\", \"u\"] }\n");
  result = sample({"--labels", "u,P"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("labels 5 'u', 0 'p'\n"));
}

TEST_F(SampleChoices, WarnsWhereTheBatchIsPartOfTheResult) {
  const ProgramResult alone = run({"--count", "2", "--steps", "1"});
  EXPECT_THAT(alone.err, Not(HasSubstr("compete")));
  const ProgramResult mixed = run({"--count", "2", "--steps", "1", "--batch", "2", "--set",
                                   "task.model.mlp.selection.inference=top-k"});
  EXPECT_EQ(mixed.status, 0) << mixed.err;
  EXPECT_THAT(mixed.err, AllOf(HasSubstr("compete for experts in blocks.0.moe.router"),
                               HasSubstr("--batch 2")));
}

}  // namespace
}  // namespace gallop::test
