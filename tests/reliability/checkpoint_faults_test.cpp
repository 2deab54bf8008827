#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/runs/checkpoint.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"

namespace gallop::training {
namespace {

using test::FailingFileSystem;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Fault = FailingFileSystem::Fault;
using Lost = FailingFileSystem::Lost;

// Breaks every call of a save in every way. Whatever happens the newest verified checkpoint must be
// the one before or the new one, whole, and the next save must work and tidy up.
struct Breaking {
  int64_t keep_last;
  std::optional<runs::Snapshot> before;
  runs::Snapshot saved;
};

void expect_survives_every_fault(const Breaking& c) {
  struct Way {
    Fault fault;
    Lost lost = Lost::nothing;
  };
  // Saves that are not under test do not wait for the disk.
  const auto save = [](runs::CheckpointStore& store, const runs::Snapshot& snapshot) {
    FailingFileSystem working;
    const auto guard = replace_file_system(working);
    store.save(snapshot, recipe_of_step(snapshot.step));
    return working.calls();
  };
  size_t calls = 0;
  {
    TemporaryDirectory run;
    runs::CheckpointStore store(run.path(), keeping(c.keep_last));
    if (c.before) save(store, *c.before);
    calls = save(store, c.saved);
  }
  ASSERT_GT(calls, 30);
  for (const Way way : {Way{Fault::fail}, Way{Fault::shorten}, Way{Fault::stay_full},
                        Way{Fault::power_cut, Lost::nothing}, Way{Fault::power_cut, Lost::data},
                        Way{Fault::power_cut, Lost::data_and_names}}) {
    for (size_t n = 0; n < calls; ++n) {
      TemporaryDirectory run;
      runs::CheckpointStore store(run.path(), keeping(c.keep_last));
      if (c.before) save(store, *c.before);
      FailingFileSystem failing(way.fault, n);
      std::string error = "no error";
      {
        const auto guard = replace_file_system(failing);
        error = message_of([&] { store.save(c.saved, recipe_of_step(c.saved.step)); });
      }
      if (way.fault == Fault::power_cut) failing.settle(way.lost);
      const std::string where = "fault " + std::to_string(static_cast<int>(way.fault)) + ", lost " +
                                std::to_string(static_cast<int>(way.lost)) + " at call " +
                                std::to_string(n) + " (" +
                                (n < failing.log().size() ? failing.log()[n] : "-") + ")";

      const auto newest = store.newest();
      if (!newest) {
        ASSERT_FALSE(c.before.has_value()) << where << ": the earlier checkpoint is lost";
        ASSERT_NE(error, "no error") << where << ": the save claims success and nothing is there";
      } else {
        const runs::Snapshot found = runs::CheckpointStore::load(newest->path);
        const bool is_new = equal(found, c.saved);
        ASSERT_TRUE(is_new || (c.before && equal(found, *c.before))) << where;
        ASSERT_TRUE(is_new || error != "no error") << where << ": the save claims success";
      }
      if (error != "no error") {
        ASSERT_THAT(error,
                    AllOf(HasSubstr("step " + std::to_string(c.saved.step)), HasSubstr("made up")))
            << where;
      }

      const runs::Snapshot next = snapshot_of(c.saved.step + 1);
      save(store, next);
      ASSERT_TRUE(equal(runs::CheckpointStore::load(store.newest()->path), next)) << where;
      for (const std::string& name : names_in(run / "checkpoints")) {
        ASSERT_FALSE(name.ends_with(".tmp")) << where << ": " << name << " is left";
      }
      ASSERT_LE(store.all().size(), c.keep_last) << where;
    }
  }
}

TEST(CheckpointFaults, TheFirstSave) { expect_survives_every_fault({1, {}, snapshot_of(10)}); }

TEST(CheckpointFaults, ASaveThatRemovesTheOnlyOther) {
  expect_survives_every_fault({1, snapshot_of(10), snapshot_of(20)});
}

TEST(CheckpointFaults, ASaveOfTheSameStep) {
  expect_survives_every_fault({1, snapshot_of(10), snapshot_of(10, 0.5)});
}

}  // namespace
}  // namespace gallop::training
