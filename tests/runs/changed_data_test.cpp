#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "gallop/base/file.h"
#include "gallop/compute/calibrate.h"
#include "gallop/data/identity.h"
#include "gallop/formats/image.h"
#include "gallop/formats/safetensors.h"
#include "gallop/runs/restore.h"
#include "gallop/runs/resume.h"
#include "gallop/tasks/evaluate.h"
#include "gallop/training/trainer.h"
#include "tests/support/data_files.h"
#include "tests/support/idx_files.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::runs {
namespace {

using training::message_of;
using training::put;
using training::recipe_in;
using training::Trainer;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class ChangedData : public ::testing::Test {
 protected:
  void picture(const std::string& name, uint8_t colour) const {
    fs::create_directories((folder_ / name).parent_path());
    formats::Image image{8, 8, 1, std::vector<uint8_t>(64, colour)};
    for (size_t i = 0; i < colour % 64; ++i) image.pixels[i] = static_cast<uint8_t>(i * 57);
    write_png(folder_ / name, image);
  }
  void classes(const std::vector<std::string>& names, const std::string& root = "data") const {
    for (const std::string& name : names) {
      for (uint8_t i = 0; i < 4; ++i) {
        picture(root + "/" + name + "/" + std::to_string(i) + ".png", i);
      }
    }
  }
  Recipe recipe(const std::string& kind = "folder", const std::string& path = "data",
                std::vector<std::string> overrides = {}) const {
    const std::string channels = kind == "folder" ? ", channels = 1" : "";
    overrides.push_back("data.source={kind=\"" + kind + "\", path=\"" + (folder_ / path).string() +
                        "\"" + channels + "}");
    overrides.insert(overrides.end(), {"train.batch=4", "eval.samples=2", "eval.batch=2"});
    return recipe_in(folder_ / "run", overrides);
  }
  /// What a resume says on standard error, and goes on from.
  std::string resumed(Recipe recipe, const std::vector<std::string>& allow = {}) const {
    ::testing::internal::CaptureStderr();
    int64_t step = -1;
    std::string error;
    try {
      Trainer trainer(std::move(recipe), allow);
      step = trainer.state().step;
      trainer.run(step + 1);
    } catch (const Error& what) {
      error = what.what();
    }
    const std::string text = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(error, "") << text;
    EXPECT_GT(step, 0) << text;
    return text;
  }
  std::string refusal(const Recipe& recipe, const std::vector<std::string>& allow = {}) const {
    const std::string config = read_file(folder_ / "run/config.toml");
    const std::string error = message_of([&] { Trainer(recipe, allow); });
    EXPECT_EQ(read_file(folder_ / "run/config.toml"), config);
    return error;
  }
  test::TemporaryDirectory folder_;
};

// One of three classes is renamed so that the order moves: rows of the class table would swap.
TEST_F(ChangedData, RenamedClassesAreRefusedWithBothLists) {
  classes({"a", "b", "c"});
  Trainer(recipe()).run(2);
  fs::rename(folder_ / "data/a", folder_ / "data/z");
  EXPECT_THAT(
      refusal(recipe()),
      AllOf(HasSubstr(R"(3 classes: "a", "b", "c" -> 3 classes: "b", "c", "z")"),
            HasSubstr(R"(label 0 was "a" and is "b")"), HasSubstr("with --allow data.classes.")));
  EXPECT_THAT(refusal(recipe(), {"data.count", "train"}), HasSubstr("data.classes: "));
  EXPECT_THAT(resumed(recipe(), {"data.classes"}),
              AllOf(HasSubstr("going on from step 2"), HasSubstr("changed since: data.classes: ")));
  // What was accepted is what the next checkpoint is of.
  EXPECT_THAT(resumed(recipe()), Not(HasSubstr("changed since")));
}

TEST_F(ChangedData, AnotherNumberOfClassesIsRefused) {
  classes({"a", "b"});
  Trainer(recipe()).run(2);
  classes({"c"});
  EXPECT_THAT(refusal(recipe()),
              AllOf(HasSubstr(R"(2 classes: "a", "b" -> 3 classes: "a", "b", "c")"),
                    HasSubstr("--allow data.classes")));
}

TEST_F(ChangedData, AnotherCountIsTold) {
  classes({"a", "b", "c"});
  Trainer(recipe()).run(2);
  picture("data/c/more.png", 9);
  EXPECT_THAT(resumed(recipe()),
              HasSubstr("warning: changed since: data.count: 11 -> 12 training"));
  EXPECT_THAT(resumed(recipe()), Not(HasSubstr("changed since")));
  fs::remove(folder_ / "data/c/more.png");
  EXPECT_THAT(resumed(recipe(), {"data.count"}),
              AllOf(HasSubstr("changed since: data.count: 12 -> 11"), Not(HasSubstr("warning"))));
}

TEST_F(ChangedData, OtherFilesOfTheSameNumberAreTold) {
  classes({"a", "b", "c"});
  Trainer(recipe()).run(2);
  picture("data/b/1.png", 60);
  EXPECT_THAT(resumed(recipe()),
              HasSubstr("warning: changed since: data.content: the 11 training"));
}

TEST_F(ChangedData, AnotherHeldOutSplitIsTold) {
  classes({"a", "b"}, "data/train");
  classes({"a", "b"}, "data/test");
  Trainer(recipe()).run(2);
  fs::remove(folder_ / "data/test/a/0.png");
  EXPECT_THAT(resumed(recipe()),
              AllOf(HasSubstr("warning: changed since: data.held_out: 8 -> 7 held-out samples"),
                    Not(HasSubstr("data.count"))));
  picture("data/test/a/1.png", 44);
  EXPECT_THAT(resumed(recipe()), HasSubstr("data.held_out: the 7 held-out samples are not"));
}

TEST_F(ChangedData, OtherLabelsOfIdxFilesAreTold) {
  test::write_idx_files(folder_ / "data", 48, 12);
  Trainer(recipe("idx")).run(2);
  const fs::path labels = folder_ / "data/train-labels-idx1-ubyte";
  std::string bytes = read_file(labels);
  std::swap(bytes[8], bytes[9]);
  put(labels, bytes);
  EXPECT_THAT(resumed(recipe("idx")), HasSubstr("data.content: the 48 training samples are not"));
}

TEST_F(ChangedData, SwappedNamesInAManifestOfLatentsAreRefused) {
  const auto manifest = [&](const std::string& names) {
    test::put_file(folder_ / "data/manifest.json",
                   R"({"format": "gallop-latents", "version": 1, "encoder": "e",
                       "scale_factor": 1, "shape": [1, 8, 8], "classes": 2, "class_names": [)" +
                       names + R"(], "train": ["0.safetensors"], "test": ["0.safetensors"]})");
  };
  manifest(R"("hen", "cock")");
  const std::vector<float> values(size_t{6} * 64, 0.25F);
  const std::vector<int64_t> labels = {0, 1, 0, 1, 0, 1};
  formats::write_safetensors(
      folder_ / "data/0.safetensors",
      {{"latents", formats::DType::F32, {6, 1, 8, 8}, std::as_bytes(std::span(values))},
       {"labels", formats::DType::I64, {6}, std::as_bytes(std::span(labels))}});
  Trainer(recipe("latents")).run(2);
  manifest(R"("cock", "hen")");
  EXPECT_THAT(refusal(recipe("latents")),
              AllOf(HasSubstr(R"("hen", "cock" -> 2 classes: "cock", "hen")"),
                    HasSubstr("--allow data.classes")));
}

TEST_F(ChangedData, TheSameDataElsewhereNeedNoLeave) {
  classes({"a", "b", "c"});
  Trainer(recipe()).run(2);
  fs::rename(folder_ / "data", folder_ / "moved");
  EXPECT_THAT(resumed(recipe("folder", "moved")), HasSubstr("(the same data)"));
  classes({"a", "b", "c"}, "other");
  picture("other/a/more.png", 1);
  EXPECT_THAT(refusal(recipe("folder", "other")),
              AllOf(HasSubstr("data.source.path: "), HasSubstr("--allow task.data.source.path.")));
}

// Checkpoints from before the content was kept know names, count and shape.
TEST_F(ChangedData, OldCheckpointsAreComparedByWhatTheyKnow) {
  classes({"a", "b", "c"});
  Recipe now = recipe();
  Trainer trainer(now);
  trainer.run(2);
  const fs::path checkpoint = folder_ / "run/checkpoints/step-00000002";
  Snapshot saved = CheckpointStore::load(checkpoint);
  const auto compare = [&] {
    return compare_with_checkpoint(checkpoint, saved, {now, *make_task(now), {}});
  };
  EXPECT_TRUE(compare().warnings.empty());

  const Json kept = Json::parse(saved.model_metadata.at("data"));
  Json old = Json::object();
  for (const auto& [key, value] : kept.as_object()) {
    if (key != "content") old[key] = value;
  }
  saved.model_metadata["data"] = old.dump();
  saved.model_metadata.erase("held_out");
  EXPECT_TRUE(compare().warnings.empty());
  old["class_names"] = Json::Array{"b", "c", "a"};
  saved.model_metadata["data"] = old.dump();
  EXPECT_THAT(message_of([&] { compare(); }), HasSubstr("--allow data.classes"));
}

TEST_F(ChangedData, AKeyToAllowMustExist) {
  classes({"a", "b"});
  Trainer(recipe()).run(2);
  EXPECT_THAT(refusal(recipe(), {"data.clases"}),
              AllOf(HasSubstr("--allow data.clases"), HasSubstr("did you mean 'data.classes'?")));
  EXPECT_THAT(refusal(recipe(), {"train.bach"}), HasSubstr("did you mean 'train.batch'?"));
  resumed(recipe(), {"train.batch", "model"});
  EXPECT_THAT(message_of([&] { Trainer(recipe_in(folder_ / "new"), {"sed"}); }),
              HasSubstr("--allow sed: there is no such key"));
}

// The hint names every key that it takes, and they suffice.
TEST_F(ChangedData, TheHintIsTheWayOn) {
  classes({"a", "b", "c"});
  Trainer(recipe()).run(2);
  fs::rename(folder_ / "data/a", folder_ / "data/z");
  Recipe other = recipe();
  other.seed = 6;
  other.train.accumulate = 2;
  EXPECT_THAT(refusal(other),
              HasSubstr("--allow seed --allow train.accumulate --allow data.classes."));
  resumed(other, {"seed", "train.accumulate", "data.classes"});
}

TEST_F(ChangedData, EvaluationAndCalibrationSaySo) {
  classes({"a", "b", "c"}, "data/train");
  classes({"a", "b", "c"}, "data/test");
  Trainer(recipe()).run(2);
  fs::rename(folder_ / "data/train/a", folder_ / "data/train/z");
  fs::rename(folder_ / "data/test/a", folder_ / "data/test/z");
  picture("data/test/b/more.png", 1);
  const Restored restored = restore(folder_ / "run");
  ::testing::internal::CaptureStderr();
  tasks::evaluate(*restored.task, *restored.model);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("not the data that the weights have seen"),
                    HasSubstr("data.held_out: 12 -> 13 held-out samples")));
  ::testing::internal::CaptureStderr();
  compute::calibrate(*restored.task, *restored.model, 1, {});
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr(R"(3 classes: "a", "b", "c" -> 3 classes: "b", "c", "z")"));
}

}  // namespace
}  // namespace gallop::runs
