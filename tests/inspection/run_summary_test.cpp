#include "gallop/inspection/run_summary.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "gallop/config/parse.h"
#include "tests/support/temporary_directory.h"

namespace gallop::inspection {
namespace {

using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
namespace fs = std::filesystem;

TEST(ReadLog, WholeLinesOnly) {
  TemporaryDirectory run;
  EXPECT_THAT(read_log(run / "log.jsonl"), IsEmpty());
  std::ofstream(run / "log.jsonl")
      << R"({"step":10,"time":1.5,"kind":"train","loss":0.5,"note":"text"})" << "\n"
      << "{\"step\":\n"
      << R"({"step":20,"time":2.5,"kind":"eval","loss":null})" << "\n"
      << R"({"step":30,"time":3.5,"kind":"train","loss":0.2)";
  const auto lines = read_log(run / "log.jsonl");
  ASSERT_EQ(lines.size(), 2);
  EXPECT_EQ(lines[0].step, 10);
  EXPECT_EQ(lines[0].kind, "train");
  ASSERT_EQ(lines[0].values.size(), 1);
  EXPECT_EQ(lines[0].values[0].second, 0.5);
  EXPECT_TRUE(std::isnan(lines[1].values.at(0).second));
}

TEST(CheckCheckpoints, SaysWhichAreWhole) {
  TemporaryDirectory run;
  EXPECT_THAT(check_checkpoints(run.path()), IsEmpty());
  runs::CheckpointStore store(run.path(), {});
  runs::Snapshot snapshot{.step = 10, .model = {{"w", at::full({100}, 1.0)}}};
  store.save(snapshot, "");
  snapshot.step = 20;
  const fs::path newer = store.save(snapshot, "");
  const uintmax_t removed = fs::file_size(newer / "ema.safetensors");
  fs::remove(newer / "ema.safetensors");

  const auto checked = check_checkpoints(run.path());
  ASSERT_EQ(checked.size(), 2);
  EXPECT_EQ(checked[0].saved.step, 20);
  EXPECT_THAT(checked[0].damage, HasSubstr("ema.safetensors"));
  EXPECT_EQ(checked[1].saved.step, 10);
  EXPECT_EQ(checked[1].damage, "");
  EXPECT_GT(checked[1].bytes, 400);
  EXPECT_EQ(checked[0].bytes + removed, checked[1].bytes);
}

TEST(MainSettings, OneLineASection) {
  runs::Recipe recipe;
  config::load_text(recipe, R"(
train = { steps = 1600, batch = 32 }
model = { kind = "dit", size = "S/4" }
optimizer = { kind = "adamw", lr = 1e-3 }
)",
                    "test");
  std::map<std::string, std::string> settings;
  for (const auto& [section, text] : main_settings(recipe)) settings[section] = text;
  EXPECT_THAT(settings["train"], AllOf(HasSubstr("steps=1600, batch=32"), Not(HasSubstr("lr"))));
  EXPECT_THAT(settings["task.model"],
              AllOf(HasSubstr("\"dit\", size=\"S/4\""), Not(HasSubstr("depth"))));
  EXPECT_THAT(settings["optimizer"], HasSubstr("\"adamw\", lr=0.001"));
  EXPECT_THAT(settings["task"], HasSubstr("image-generation"));
  EXPECT_FALSE(settings.contains("task.data")) << "as it is by default";
}

TEST(Metadata, InWords) {
  EXPECT_EQ(role_text({{"role", "ema"}, {"step", "30"}, {"decay", "0.99"}}),
            "EMA (decay 0.99) of step 30");
  EXPECT_EQ(role_text({{"role", "model"}, {"step", "30"}}), "raw of step 30");
  EXPECT_EQ(role_text({}), "");
  EXPECT_THAT(threshold_text({{"threshold", "exact"}}), HasSubstr("exact"));
  EXPECT_THAT(threshold_text({{"threshold", "moving average"}}), HasSubstr("moving average"));
  EXPECT_EQ(threshold_text({{"format", "pt"}}), "");
}

}  // namespace
}  // namespace gallop::inspection
