#include "gallop/runs/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/file.h"
#include "tests/support/read_only.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"

namespace gallop::runs {
namespace {

using training::equal;
using training::keeping;
using training::message_of;
using training::names_in;
using training::put;
using training::recipe_of_step;
using training::snapshot_of;

using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Checkpoint, ComesBackBitForBit) {
  TemporaryDirectory run;
  const CheckpointStore store(run.path(), {});
  EXPECT_FALSE(store.newest().has_value());
  const fs::path path =
      CheckpointStore(run.path(), {}).save(snapshot_of(1000), recipe_of_step(1000));
  EXPECT_EQ(path, run / "checkpoints" / "step-00001000");
  EXPECT_THAT(names_in(path),
              ElementsAre("config.toml", "ema.safetensors", "manifest.json", "model.safetensors",
                          "optimizer.safetensors", "state.json"));
  const auto newest = store.newest();
  ASSERT_TRUE(newest.has_value());
  EXPECT_EQ(newest->path, path);
  EXPECT_EQ(newest->step, 1000);
  EXPECT_TRUE(equal(CheckpointStore::load(path), snapshot_of(1000)));
  EXPECT_EQ(find_recipe(path), recipe_of_step(1000));
}

TEST(Checkpoint, KeepsTheNewestAndTheMultiples) {
  TemporaryDirectory run;
  CheckpointStore store(run.path(), keeping(2, 30));
  for (const int64_t step : {10, 20, 30, 40, 50, 60, 70}) store.save(snapshot_of(step), "");
  EXPECT_THAT(names_in(run / "checkpoints"),
              ElementsAre("step-00000030", "step-00000060", "step-00000070"));
}

TEST(Checkpoint, LeftoversOfKilledSavesAreIgnoredAndSwept) {
  TemporaryDirectory run;
  CheckpointStore store(run.path(), {});
  store.save(snapshot_of(10), "");
  const fs::path killed = run / "checkpoints" / "step-00000020.tmp";
  fs::copy(run / "checkpoints" / "step-00000010", killed);
  put(killed / "extra", "of another save");
  EXPECT_EQ(store.newest()->step, 10);
  const fs::path path = store.save(snapshot_of(30), "");
  EXPECT_THAT(names_in(run / "checkpoints"), ElementsAre("step-00000010", "step-00000030"));
  EXPECT_EQ(names_in(path).size(), 6);
}

TEST(Checkpoint, ASaveOfTheSameStepReplaces) {
  TemporaryDirectory run;
  CheckpointStore store(run.path(), keeping(1));
  store.save(snapshot_of(10), "");
  store.save(snapshot_of(10, 0.25), "");
  EXPECT_THAT(names_in(run / "checkpoints"), ElementsAre("step-00000010"));
  EXPECT_TRUE(equal(CheckpointStore::load(store.newest()->path), snapshot_of(10, 0.25)));
}

TEST(FindWeights, InARunACheckpointOrAFile) {
  TemporaryDirectory run;
  CheckpointStore store(run.path(), {});
  store.save(snapshot_of(10), recipe_of_step(10));
  const fs::path newest = store.save(snapshot_of(20), recipe_of_step(20));
  put(run / "config.toml", "name = \"run\"\n");
  EXPECT_EQ(find_weights(run.path()), newest / "ema.safetensors");
  EXPECT_EQ(find_weights(run.path(), false), newest / "model.safetensors");
  const fs::path older = run / "checkpoints" / "step-00000010";
  EXPECT_EQ(find_weights(older), older / "ema.safetensors");
  EXPECT_EQ(find_weights(older / "model.safetensors"), older / "model.safetensors");
  EXPECT_EQ(find_recipe(run.path()), "name = \"run\"\n");
  EXPECT_EQ(find_recipe(older / "model.safetensors"), recipe_of_step(10));
}

TEST(FindWeights, SaysWhatIsMissingOrDamaged) {
  TemporaryDirectory run;
  EXPECT_THAT(message_of([&] { find_weights(run / "nowhere"); }), HasSubstr("does not exist"));
  EXPECT_THAT(message_of([&] { find_weights(run.path()); }), HasSubstr("holds no checkpoint"));
  EXPECT_EQ(find_recipe(run.path()), "");
  const fs::path path = CheckpointStore(run.path(), {}).save(snapshot_of(10), "");
  fs::resize_file(path / "optimizer.safetensors", 10);
  EXPECT_THAT(message_of([&] { find_weights(path); }), HasSubstr("optimizer.safetensors"));
}

TEST(Checkpoint, AFileInTheWayIsNamed) {
  TemporaryDirectory run;
  put(run / "checkpoints", "not a folder");
  CheckpointStore store(run.path(), {});
  EXPECT_THAT(message_of([&] { store.save(snapshot_of(20), ""); }),
              AllOf(HasSubstr("step 20"), HasSubstr("checkpoints"), HasSubstr("Not a directory")));
  EXPECT_EQ(read_file(run / "checkpoints"), "not a folder");
}

TEST(Checkpoint, AReadOnlyRunDirectoryIsNamed) {
  TemporaryDirectory run;
  CheckpointStore store(run.path(), {});
  const auto save = [&](const fs::path& read_only, int64_t step) {
    const test::ReadOnlyFolder guard(read_only);
    return message_of([&] { store.save(snapshot_of(step), ""); });
  };
  EXPECT_THAT(save(run.path(), 10), AllOf(HasSubstr("step 10"), HasSubstr("checkpoints"),
                                          HasSubstr("Permission denied")));
  EXPECT_TRUE(fs::is_empty(run.path()));
  store.save(snapshot_of(10), "");
  fs::permissions(run.path(), fs::perms::all);  // so that the folder below can be seen
  EXPECT_THAT(save(run / "checkpoints", 20),
              AllOf(HasSubstr("step-00000020"), HasSubstr("Permission denied"),
                    HasSubstr("Earlier checkpoints can still be used")));
  EXPECT_EQ(store.newest()->step, 10);
  EXPECT_TRUE(equal(CheckpointStore::load(store.newest()->path), snapshot_of(10)));
}

}  // namespace
}  // namespace gallop::runs
