#include "gallop/sparse/losses/mutual_information.h"

#include <ATen/ops/eye.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/routing.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using testing::loss_of;
using testing::tensor_of;

RoutingRecord record_of(const at::Tensor& logits_BLE) {
  RoutingRecord record;
  record.layer = "blocks.0.moe";
  record.logits_BLE = logits_BLE;
  return record;
}

// The fixture's tokens are samples of one token here, their tasks the labels.
REFERENCE_TEST(MutualInformationCases, OfTaskAndExpertMatchTheReference,
               "routing/kind_task_information_loss") {
  const at::Tensor logits = fixture.in("logits").clone().set_requires_grad(true);
  fixture.expect_close(
      joint_probability(logits, fixture.in("task"), fixture.config().at("tasks").as_int()),
      "out.joint");
  RoutingRecord record = record_of(logits.unsqueeze(1));
  record.label_B = fixture.in("task");
  const at::Tensor loss = loss_of("mutual_information", record);
  fixture.expect_close(loss, "out.loss");
  loss.backward();
  fixture.expect_close(logits.grad(), "grad.logits");
  fixture.expect_all_checked();
}

// Four experts for four tasks, each its own: ln 4; all alike: nothing.
TEST(MutualInformation, IsLogOfTheTasksForSpecialistsAndZeroForGeneralists) {
  const at::Tensor own = at::eye(4).mul(200).reshape({4, 1, 4}).set_requires_grad(true);
  RoutingRecord record = record_of(own);
  record.label_B = tensor_of({3, 0, 7, 5}).to(at::kLong);
  record.timestep_B = tensor_of({0.1f, 0.9f, 0.4f, 0.2f});
  for (const char* task : {"task = \"label\"", "task = \"token\"", "task = \"time\"\nbins = 4"}) {
    own.mutable_grad().reset();
    const at::Tensor loss = loss_of("mutual_information", record, task);
    EXPECT_NEAR(loss.item<double>(), -std::log(4.0), 1e-6) << task;
    loss.backward();
    EXPECT_TRUE(own.grad().isfinite().all().item<bool>()) << task;
  }
  // Halves of the noise levels: samples 0 and 3 are the lower, and share no expert with the others.
  EXPECT_NEAR(loss_of("mutual_information", record, "task = \"time\"\nbins = 2").item<double>(),
              -std::log(2.0), 1e-6);
  EXPECT_NEAR(loss_of("mutual_information", record_of(at::zeros({4, 1, 4})), "task = \"token\"")
                  .item<double>(),
              0, 1e-6);
}

TEST(MutualInformation, SaysWhatIsMissing) {
  const RoutingRecord record = record_of(at::zeros({4, 1, 4}));
  EXPECT_THAT(testing::message_of([&] { loss_of("mutual_information", record); }),
              ::testing::HasSubstr("needs labelled data"));
  EXPECT_THAT(
      testing::message_of([&] { loss_of("mutual_information", record, "task = \"time\""); }),
      ::testing::HasSubstr("needs a model with timesteps"));
}

}  // namespace
}  // namespace gallop::sparse
