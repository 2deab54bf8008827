#include "gallop/training/checkpoint.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "gallop/base/error.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/read_only.h"
#include "tests/support/temporary_directory.h"

namespace gallop::training {
namespace {

using test::FailingFileSystem;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Fault = FailingFileSystem::Fault;
using Lost = FailingFileSystem::Lost;

// A snapshot whose every part depends on `step` and `variant`.
Snapshot snapshot_of(int64_t step, double variant = 0) {
  const double v = static_cast<double>(step) + variant;
  Snapshot s;
  s.step = step;
  s.model = {{"blocks.0.w", at::full({3, 4}, v)}, {"threshold", at::full({}, v / 7)}};
  s.ema = {{"blocks.0.w", at::full({3, 4}, v - 0.5)}, {"threshold", at::full({}, v / 3)}};
  s.optimizer = {{"exp_avg.blocks.0.w", at::full({3, 4}, v * 1e-3)},
                 {"exp_avg_sq.blocks.0.w", at::arange(v, v + 12).reshape({3, 4})}};
  s.state = Json::Object{{"applied", step - 1}, {"loss", v / 3}};
  s.model_metadata = {{"role", "model"}, {"variant", std::to_string(variant)}};
  s.ema_metadata = {{"role", "ema"}, {"threshold", "moving average"}};
  return s;
}

CheckpointConfig keeping(int64_t last, int64_t every = 0) {
  CheckpointConfig config;
  config.keep_last = last;
  config.keep_every = every;
  return config;
}

std::string recipe_of(int64_t step) { return "name = \"step" + std::to_string(step) + "\"\n"; }

bool equal(const NamedTensors& a, const NamedTensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.dtype() == y.second.dtype() && x.second.equal(y.second);
  });
}

bool equal(const Snapshot& a, const Snapshot& b) {
  return a.step == b.step && equal(a.model, b.model) && equal(a.ema, b.ema) &&
         equal(a.optimizer, b.optimizer) && a.state.dump() == b.state.dump() &&
         a.model_metadata == b.model_metadata && a.ema_metadata == b.ema_metadata;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

void put(const fs::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

TEST(Checkpoint, ComesBackBitForBit) {
  TemporaryDirectory run;
  const CheckpointStore store(run.path(), {});
  EXPECT_FALSE(store.newest().has_value());
  const fs::path path = CheckpointStore(run.path(), {}).save(snapshot_of(1000), recipe_of(1000));
  EXPECT_EQ(path, run / "checkpoints" / "step-00001000");
  EXPECT_THAT(names_in(path),
              ElementsAre("config.toml", "ema.safetensors", "manifest.json", "model.safetensors",
                          "optimizer.safetensors", "state.json"));
  const auto newest = store.newest();
  ASSERT_TRUE(newest.has_value());
  EXPECT_EQ(newest->path, path);
  EXPECT_EQ(newest->step, 1000);
  EXPECT_TRUE(equal(CheckpointStore::load(path), snapshot_of(1000)));
  EXPECT_EQ(find_recipe(path), recipe_of(1000));
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

// Breaks every call of a save in every way. Whatever happens the newest verified checkpoint must be
// the one before or the new one, whole, and the next save must work and tidy up.
struct Breaking {
  int64_t keep_last;
  std::optional<Snapshot> before;
  Snapshot saved;
};

void expect_survives_every_fault(const Breaking& c) {
  struct Way {
    Fault fault;
    Lost lost = Lost::nothing;
  };
  // Saves that are not under test do not wait for the disk.
  const auto save = [](CheckpointStore& store, const Snapshot& snapshot) {
    FailingFileSystem working;
    const auto guard = replace_file_system(working);
    store.save(snapshot, recipe_of(snapshot.step));
    return working.calls();
  };
  size_t calls = 0;
  {
    TemporaryDirectory run;
    CheckpointStore store(run.path(), keeping(c.keep_last));
    if (c.before) save(store, *c.before);
    calls = save(store, c.saved);
  }
  ASSERT_GT(calls, 30);
  for (const Way way : {Way{Fault::fail}, Way{Fault::shorten}, Way{Fault::stay_full},
                        Way{Fault::power_cut, Lost::nothing}, Way{Fault::power_cut, Lost::data},
                        Way{Fault::power_cut, Lost::data_and_names}}) {
    for (size_t n = 0; n < calls; ++n) {
      TemporaryDirectory run;
      CheckpointStore store(run.path(), keeping(c.keep_last));
      if (c.before) save(store, *c.before);
      FailingFileSystem failing(way.fault, n);
      std::string error;
      {
        const auto guard = replace_file_system(failing);
        error = error_of([&] { store.save(c.saved, recipe_of(c.saved.step)); });
      }
      if (way.fault == Fault::power_cut) failing.settle(way.lost);
      const std::string where = "fault " + std::to_string(static_cast<int>(way.fault)) + ", lost " +
                                std::to_string(static_cast<int>(way.lost)) + " at call " +
                                std::to_string(n) + " (" +
                                (n < failing.log().size() ? failing.log()[n] : "-") + ")";

      const auto newest = store.newest();
      if (!newest) {
        ASSERT_FALSE(c.before.has_value()) << where << ": the earlier checkpoint is lost";
        ASSERT_NE(error, "") << where << ": the save claims success and nothing is there";
      } else {
        const Snapshot found = CheckpointStore::load(newest->path);
        const bool is_new = equal(found, c.saved);
        ASSERT_TRUE(is_new || (c.before && equal(found, *c.before))) << where;
        ASSERT_TRUE(is_new || error != "") << where << ": the save claims success";
      }
      if (error != "") {
        ASSERT_THAT(error,
                    AllOf(HasSubstr("step " + std::to_string(c.saved.step)), HasSubstr("made up")))
            << where;
      }

      const Snapshot next = snapshot_of(c.saved.step + 1);
      save(store, next);
      ASSERT_TRUE(equal(CheckpointStore::load(store.newest()->path), next)) << where;
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

// Damage on disk: two good checkpoints, the newer one is broken in some way.
class CheckpointDamage : public ::testing::Test {
 protected:
  CheckpointDamage() : store_(run_.path(), {}) {
    store_.save(snapshot_of(10), recipe_of(10));
    newer_ = store_.save(snapshot_of(20), recipe_of(20));
    for (const std::string& name : names_in(newer_)) content_[name] = read_file(newer_ / name);
  }

  void restore() {
    for (const auto& [name, content] : content_) put(newer_ / name, content);
  }

  void expect_passed_over(const std::string& file, const std::string& how) {
    const std::string error = error_of([&] { verify_checkpoint(newer_); });
    EXPECT_THAT(error, HasSubstr(file)) << how;
    ::testing::internal::CaptureStderr();
    const auto newest = store_.newest();
    const std::string warning = ::testing::internal::GetCapturedStderr();
    EXPECT_THAT(warning, AllOf(HasSubstr("step-00000020"), HasSubstr(file))) << how;
    ASSERT_TRUE(newest.has_value()) << how;
    EXPECT_EQ(newest->step, 10) << how;
  }

  TemporaryDirectory run_;
  CheckpointStore store_;
  fs::path newer_;
  std::map<std::string, std::string> content_;
};

TEST_F(CheckpointDamage, AFlippedByteAnywhere) {
  for (const auto& [name, content] : content_) {
    const size_t stride = name.ends_with(".safetensors") ? 17 : 1;
    for (size_t at = 0; at < content.size(); at += stride) {
      std::string damaged = content;
      damaged[at] = static_cast<char>(damaged[at] ^ 1);
      put(newer_ / name, damaged);
      EXPECT_THAT(error_of([&] { verify_checkpoint(newer_); }), HasSubstr(newer_.string()))
          << name << " with byte " << at << " flipped";
    }
    std::string damaged = content;
    damaged[content.size() / 2] ^= 1;
    put(newer_ / name, damaged);
    expect_passed_over(name == "manifest.json" ? "step-00000020" : name, "flipped " + name);
    restore();
  }
  EXPECT_EQ(store_.newest()->step, 20);
}

TEST_F(CheckpointDamage, ATruncatedFile) {
  for (const auto& [name, content] : content_) {
    for (const size_t size : {size_t{0}, size_t{1}, content.size() / 2, content.size() - 2}) {
      put(newer_ / name, content.substr(0, size));
      expect_passed_over(name, name + " cut to " + std::to_string(size));
    }
    put(newer_ / name, content + "x");
    expect_passed_over(name, name + " with a byte more");
    restore();
  }
}

TEST_F(CheckpointDamage, AMissingFile) {
  for (const auto& [name, content] : content_) {
    fs::remove(newer_ / name);
    expect_passed_over(name, "without " + name);
    restore();
  }
}

TEST_F(CheckpointDamage, AManifestThatSaysTooLittle) {
  put(newer_ / "manifest.json", R"({"format": 1, "files": {}})");
  expect_passed_over("manifest.json", "no files");
  put(newer_ / "manifest.json", "[1]");
  expect_passed_over("manifest.json", "an array");
  put(newer_ / "manifest.json", R"({"format": 2, "files": {}})");
  EXPECT_THAT(error_of([&] { verify_checkpoint(newer_); }), HasSubstr("format version 2"));
}

TEST_F(CheckpointDamage, OfAllIsAnErrorAndNoFreshStart) {
  fs::resize_file(newer_ / "model.safetensors", 5);
  fs::remove(run_ / "checkpoints" / "step-00000010" / "state.json");
  EXPECT_THAT(error_of([&] { store_.newest(); }), HasSubstr("none of the 2 checkpoints"));
}

// After a resume from step 10 the run reaches the damaged step again.
TEST_F(CheckpointDamage, IsReplacedWhenTheRunComesByAgain) {
  fs::resize_file(newer_ / "ema.safetensors", 100);
  store_.save(snapshot_of(15), "");
  EXPECT_EQ(store_.newest()->step, 15);
  store_.save(snapshot_of(20, 0.5), "");
  EXPECT_TRUE(equal(CheckpointStore::load(store_.newest()->path), snapshot_of(20, 0.5)));
  EXPECT_THAT(names_in(run_ / "checkpoints"), ElementsAre("step-00000015", "step-00000020"));
}

TEST(FindWeights, InARunACheckpointOrAFile) {
  TemporaryDirectory run;
  CheckpointStore store(run.path(), {});
  store.save(snapshot_of(10), recipe_of(10));
  const fs::path newest = store.save(snapshot_of(20), recipe_of(20));
  put(run / "config.toml", "name = \"run\"\n");
  EXPECT_EQ(find_weights(run.path()), newest / "ema.safetensors");
  EXPECT_EQ(find_weights(run.path(), false), newest / "model.safetensors");
  const fs::path older = run / "checkpoints" / "step-00000010";
  EXPECT_EQ(find_weights(older), older / "ema.safetensors");
  EXPECT_EQ(find_weights(older / "model.safetensors"), older / "model.safetensors");
  EXPECT_EQ(find_recipe(run.path()), "name = \"run\"\n");
  EXPECT_EQ(find_recipe(older / "model.safetensors"), recipe_of(10));
}

TEST(FindWeights, SaysWhatIsMissingOrDamaged) {
  TemporaryDirectory run;
  EXPECT_THAT(error_of([&] { find_weights(run / "nowhere"); }), HasSubstr("does not exist"));
  EXPECT_THAT(error_of([&] { find_weights(run.path()); }), HasSubstr("holds no checkpoint"));
  EXPECT_EQ(find_recipe(run.path()), "");
  const fs::path path = CheckpointStore(run.path(), {}).save(snapshot_of(10), "");
  fs::resize_file(path / "optimizer.safetensors", 10);
  EXPECT_THAT(error_of([&] { find_weights(path); }), HasSubstr("optimizer.safetensors"));
}

TEST(Checkpoint, AFileInTheWayIsNamed) {
  TemporaryDirectory run;
  put(run / "checkpoints", "not a folder");
  CheckpointStore store(run.path(), {});
  EXPECT_THAT(error_of([&] { store.save(snapshot_of(20), ""); }),
              AllOf(HasSubstr("step 20"), HasSubstr("checkpoints"), HasSubstr("Not a directory")));
  EXPECT_EQ(read_file(run / "checkpoints"), "not a folder");
}

TEST(Checkpoint, AReadOnlyRunDirectoryIsNamed) {
  TemporaryDirectory run;
  CheckpointStore store(run.path(), {});
  const auto save = [&](const fs::path& read_only, int64_t step) {
    const test::ReadOnlyFolder guard(read_only);
    return error_of([&] { store.save(snapshot_of(step), ""); });
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
}  // namespace gallop::training
