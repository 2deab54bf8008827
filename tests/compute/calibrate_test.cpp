#include "gallop/compute/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "gallop/runs/restore.h"
#include "gallop/sparse/choice/selection.h"
#include "tests/support/collected_scores.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_run.h"

namespace gallop::compute {
namespace {

using training::collect_scores;
using training::CollectedScores;
using training::recipe_in;

using test::TemporaryDirectory;
using ::testing::HasSubstr;

const std::vector<std::optional<double>> wanted = {std::nullopt, 0.5, 2.0, 3.25, 4.0};

class Calibration : public ::testing::TestWithParam<const char*> {
 protected:
  Calibration() {
    runs::Recipe recipe =
        recipe_in(folder_ / "run", {std::string("model.mlp.selection=") + GetParam()});
    task_ = runs::make_task(recipe);
    model_ = task_->make_model();
    model_->materialize(3, {}, false);
  }
  MeasuredThresholds measure(int64_t batches, int64_t bytes) {
    int64_t calls = 0;
    MeasuredThresholds measured = measure_thresholds(
        *task_, *model_, {.batches = batches},
        [](int64_t experts) {
          EXPECT_EQ(experts, 4);
          return wanted;
        },
        [&](int64_t batch) {
          ++calls;
          EXPECT_EQ(batch, std::min(calls, batches));
        },
        bytes);
    passes_ = calls / batches;
    return measured;
  }

  TemporaryDirectory folder_;
  std::unique_ptr<tasks::Task> task_;
  std::unique_ptr<models::Model> model_;
  int64_t passes_ = 0;
};

// Whatever the memory, the thresholds are those of all scores at once, to the bit.
TEST_P(Calibration, IsExactInAnyMemory) {
  constexpr int64_t batches = 16;
  const CollectedScores scores = collect_scores(*task_, *model_, {.batches = batches});
  std::vector<int64_t> rooms = {calibration_bytes, 64 << 10};
  const bool one_pool = std::string(GetParam()) == "race";
  if (one_pool) rooms.push_back(1);
  for (const int64_t bytes : rooms) {
    const MeasuredThresholds measured = measure(batches, bytes);
    if (bytes == calibration_bytes) {
      EXPECT_EQ(passes_, 1);
    } else if (bytes == 1) {
      EXPECT_GT(passes_, 1) << "64 numbers of some 6000 were enough";
    }
    ASSERT_EQ(measured.layers.size(), 2U);
    EXPECT_TRUE(measured.time_N.equal(scores.time_N));
    EXPECT_EQ(measured.active_N.numel(), 6 * batches);
    for (size_t l = 0; l < 2; ++l) {
      const LayerThresholds& layer = measured.layers[l];
      EXPECT_EQ(layer.layer, scores.layers[l].layer);
      ASSERT_EQ(layer.values.size(), wanted.size());
      for (size_t i = 0; i < wanted.size(); ++i) {
        const at::Tensor exact =
            layer.selection->exact_threshold(scores.layers[l].compared_NLE, wanted[i]);
        EXPECT_TRUE(layer.values[i].equal(exact))
            << layer.layer << ", " << wanted[i].value_or(-1) << " experts in " << bytes << " bytes";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Selections, Calibration,
                         ::testing::Values("race", "bl", "be", "diffmoe",
                                           "{kind=\"token\",inference=\"threshold\"}"),
                         [](const auto& info) {
                           const std::string name = info.param;
                           return name[0] == '{' ? "token" : name;
                         });

using RaceCalibration = Calibration;

TEST_P(RaceCalibration, RefusesScoresThatAreNaN) {
  for (nn::Parameter* parameter : model_->parameters()) {
    if (parameter->name().ends_with("x_embedder.proj.bias")) {
      (**parameter).fill_(std::numeric_limits<float>::quiet_NaN());
    }
  }
  const at::Tensor before = (**model_->find_parameter("blocks.0.moe.router.threshold")).clone();
  EXPECT_THAT(testing::message_of([&] { calibrate(*task_, *model_, 2); }),
              HasSubstr("blocks.0.moe: a score is NaN"));
  EXPECT_TRUE((**model_->find_parameter("blocks.0.moe.router.threshold"))
                  .nan_to_num(-7)
                  .equal(before.nan_to_num(-7)));
}

INSTANTIATE_TEST_SUITE_P(Selections, RaceCalibration, ::testing::Values("race"));

// A model without thresholds needs no batch.
TEST(CalibrationOfDense, IsNone) {
  const TemporaryDirectory folder;
  runs::Recipe recipe = recipe_in(folder / "run", {"model.mlp={kind=\"dense\"}"});
  const auto task = runs::make_task(recipe);
  const auto model = task->make_model();
  model->materialize(3, {}, false);
  EXPECT_FALSE(sparse::has_thresholds(*model));
  int64_t batches = 0;
  EXPECT_TRUE(calibrate(*task, *model, 64, [&](int64_t) { ++batches; }).empty());
  EXPECT_EQ(batches, 0);
}

}  // namespace
}  // namespace gallop::compute
