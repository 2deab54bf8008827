// A sample that is not finite is an error with its index, and no picture.
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "gallop/config/registry.h"
#include "gallop/tasks/images/image_session.h"
#include "tests/support/errors.h"
#include "tests/tasks/drawing.h"
#include "tests/tasks/image_task.h"
#include "tests/tasks/recording_model.h"

namespace gallop::tasks {
namespace {

using ::testing::AllOf;
using testing::draw;
using testing::Drawing;
using ::testing::HasSubstr;
using testing::message_of;
using testing::RecordingModel;

constexpr double infinity = std::numeric_limits<double>::infinity();

std::shared_ptr<const diffusion::Objective> flow() {
  return config::make<diffusion::Objective>(config::Component("objective", "flow"), {});
}

Drawing drawing_of(std::vector<int64_t> labels, int64_t rows) {
  Drawing drawing("euler", std::move(labels), 2);
  drawing.first = 100;
  drawing.rows = rows;
  return drawing;
}

/// Answers with `bad` in one element wherever the label is 2.
class BadForLabel2 : public RecordingModel {
 public:
  explicit BadForLabel2(double bad)
      : RecordingModel({.channels = 1, .height = 4, .width = 4, .classes = 3}), bad_(bad) {}
  at::Tensor forward(const at::Tensor& x_BCHW, const nn::ForwardContext& ctx) const override {
    at::Tensor y = RecordingModel::forward(x_BCHW, ctx).clone();
    y.flatten(1).select(1, 5).masked_fill_(ctx.label_B.eq(2), bad_);
    return y;
  }

 private:
  double bad_;
};

TEST(FiniteSamples, AnErrorNamesTheFirstThatIsNot) {
  for (const double bad : {infinity, -infinity, std::numeric_limits<double>::quiet_NaN()}) {
    const BadForLabel2 model(bad);
    EXPECT_THAT(
        message_of([&] { draw(model, flow(), drawing_of({0, 1, 0, 2, 2}, 3)); }),
        AllOf(HasSubstr("sample 103 (label 2) is not finite"), HasSubstr("1 of its 16 values")));
    EXPECT_EQ(draw(model, flow(), drawing_of({0, 1, 0, 1}, 3)).size(0), 4);
  }
}

TEST(FiniteSamples, AGuidanceThatIsNotFiniteIsRefused) {
  const RecordingModel model({.channels = 1, .height = 4, .width = 4, .classes = 3});
  for (const double scale : {infinity, std::numeric_limits<double>::quiet_NaN(), 1e300}) {
    Drawing drawing = drawing_of({0}, 1);
    drawing.settings.guidance = scale;
    EXPECT_THAT(message_of([&] { require_possible(model, flow(), drawing.requests()); }),
                HasSubstr("must be finite"));
  }
}

TEST(FiniteSamples, NoPictureIsMadeOfThem) {
  const auto task = testing::ImageTask().make();
  const Generator& generator = *task->generator();
  Plan plan;
  std::vector<Made> made;
  for (size_t i = 0; i < 3; ++i) {
    Request& request = plan.requests.emplace_back();
    request.index = static_cast<int64_t>(i);
    request.condition = 0;
    made.push_back({.request = i, .tensors = {{"samples", at::zeros({1, 2, 2})}}});
  }
  EXPECT_EQ(generator.show(plan, made).name, "samples");
  made[1].tensors.at("samples")[0][1][0] = infinity;
  EXPECT_THAT(message_of([&] { generator.show(plan, made); }), HasSubstr("no picture of sample 1"));
}

TEST(SampleNumbers, MustNotPassTheLargest) {
  const RecordingModel model({.channels = 1, .height = 4, .width = 4, .classes = 3});
  SampleSettings settings;
  settings.count = 2;
  settings.first = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(message_of([&] { settings.validate(); }), HasSubstr("2^63 - 1"));
  Drawing drawing = drawing_of({0, 1}, 1);
  drawing.first = std::numeric_limits<int64_t>::max() - 2;
  EXPECT_EQ(draw(model, flow(), drawing).size(0), 2);
  drawing.rows = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(draw(model, flow(), drawing).size(0), 2);
}

}  // namespace
}  // namespace gallop::tasks
