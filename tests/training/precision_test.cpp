#include "gallop/ops/precision.h"

#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "gallop/runs/device.h"
#include "gallop/runs/restore.h"
#include "gallop/tasks/evaluate.h"
#include "gallop/training/trainer.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/threads.h"
#include "tests/support/tiny_run.h"
#include "tests/tasks/image_task.h"

namespace gallop::training {
namespace {

using ::gallop::testing::message_of;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A small Race-DiT, whose products are large enough to be shared among threads.
std::vector<std::string> small(const std::string& precision, int threads = 1) {
  return {"train.precision=" + precision,
          "threads=" + std::to_string(threads),
          "train.steps=30",
          "train.batch=16",
          "eval.every=10",
          "model.width=64",
          "log.every=1"};
}

class Bf16Training : public ::testing::Test {
 protected:
  std::filesystem::path run(const std::string& name, const std::vector<std::string>& overrides,
                            int64_t until = 30) const {
    Trainer(recipe_in(folder_ / name, overrides)).run(until);
    return folder_ / name;
  }

  ops::EmulatedBf16Guard emulated_;
  TemporaryDirectory folder_;

 private:
  const testing::Threads threads_{1};  // restored in the end
};

TEST_F(Bf16Training, LosesAboutWhatFloat32Does) {
  const auto exact = run("exact", small("float32")), rounded = run("rounded", small("bf16"));
  for (const char* name : {"main", "router_similarity", "per_layer"}) {
    const auto want = logged(exact, "train", name), got = logged(rounded, "train", name);
    ASSERT_EQ(got.size(), 30U);
    EXPECT_NE(got, want);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(got[i], want[i], 0.03 * want[i]) << name << ", step " << i + 1;
    }
  }
  EXPECT_LT(logged(rounded, "train", "main").back(), 0.9 * logged(rounded, "train", "main")[0]);
  const auto want = logged(exact, "eval", "main"), got = logged(rounded, "eval", "main");
  EXPECT_NE(got, want);
  EXPECT_NEAR(got.back(), want.back(), 0.03 * want.back());
}

TEST_F(Bf16Training, GoesOnToTheBit) {
  const auto whole = run("whole", small("bf16"));
  run("parts", small("bf16"), 13);
  const auto parts = run("parts", small("bf16"));
  EXPECT_EQ(log_lines(parts), log_lines(whole));
  expect_equal_weights(*runs::restore(parts).model, *runs::restore(whole).model);
  expect_equal_weights(*runs::restore(parts, false).model, *runs::restore(whole, false).model);
}

TEST_F(Bf16Training, AndFloat32HaveTheSameBitsForAllThreads) {
  for (const std::string precision : {"bf16", "float32"}) {
    const auto folder = [&](int threads) {
      return folder_ / (precision + "-" + std::to_string(threads));
    };
    const auto trained = [&](int threads) {
      auto trainer =
          std::make_unique<Trainer>(recipe_in(folder(threads), small(precision, threads)));
      trainer->run(4);
      return trainer;
    };
    const auto one = trained(1);
    for (const int threads : {2, 3}) {
      const auto several = trained(threads);
      expect_equal_weights(several->model(), one->model());
      EXPECT_EQ(log_lines(folder(threads)), log_lines(folder(1))) << precision << ", " << threads;
    }
  }
}

// Evaluation and samples of a run are those of its precision, until someone says otherwise.
TEST_F(Bf16Training, IsEvaluatedAndSampledInItsPrecision) {
  const auto trained = run("run", small("bf16"));
  const runs::Restored same = runs::restore(trained),
                       exact = runs::restore(trained, true, {"train.precision=float32"});
  const auto held_out = [](const runs::Restored& restored) {
    return tasks::evaluate(*restored.task, *restored.model).values.at("main");
  };
  EXPECT_EQ(held_out(same), logged(trained, "eval", "main").back());
  EXPECT_NE(held_out(exact), held_out(same));
  const auto samples = [](const runs::Restored& restored) {
    return testing::drawn(*restored.task, *restored.model, {0, 1, 2}, [](auto& settings) {
      settings.steps = 2;
      settings.guidance = 1;
    });
  };
  EXPECT_TRUE(samples(same).equal(samples(same)));
  EXPECT_FALSE(samples(exact).equal(samples(same)));
  EXPECT_LT(samples(exact).sub(samples(same)).abs().max().item<double>(), 0.2);
}

TEST_F(Bf16Training, GoesOnInAnotherPrecisionOnlyWhereThatIsAllowed) {
  run("run", small("bf16"), 3);
  EXPECT_THAT(message_of([&] { Trainer(recipe_in(folder_ / "run", small("float32"))); }),
              AllOf(HasSubstr("train.precision: \"bf16\" -> \"float32\""), HasSubstr("--allow")));
  EXPECT_EQ(Trainer(recipe_in(folder_ / "run", small("float32")), {"train.precision"}).state().step,
            3);
}

TEST(Bf16Recipe, IsRefusedWhereItCannotRun) {
  if (ops::native_bf16_tile() != nullptr) GTEST_SKIP() << "this CPU has avx512_bf16";
  const TemporaryDirectory folder;
  const auto bf16 = [&] { return recipe_in(folder / "run", {"train.precision=bf16"}); };
  const auto says_why =
      AllOf(HasSubstr("train.precision = \"bf16\" cannot run: this CPU has no avx512_bf16"),
            HasSubstr("Zen 4"), HasSubstr("--set train.precision=float32"));
  EXPECT_THAT(message_of([&] { Trainer{bf16()}; }), says_why);
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
  {
    const ops::EmulatedBf16Guard emulated;
    Trainer(bf16()).run(1);
  }
  EXPECT_THAT(message_of([&] { runs::restore(folder / "run"); }), says_why);
  runs::restore(folder / "run", true, {"train.precision=float32"});
}

TEST(Bf16Recipe, IsFloat32UnlessSomeoneSaysOtherwise) {
  EXPECT_EQ(runs::precision_of(runs::Recipe()), ops::Precision::float32);
  EXPECT_THAT(message_of([] { recipe_in("run", {"train.precision=float16"}); }),
              AllOf(HasSubstr("float32"), HasSubstr("bf16")));
}

}  // namespace
}  // namespace gallop::training
