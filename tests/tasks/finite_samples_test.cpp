// A sample that is not finite is an error with its index, and no picture.
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "gallop/config/registry.h"
#include "gallop/runs/sample_sheet.h"
#include "gallop/tasks/draw_samples.h"
#include "tests/support/errors.h"
#include "tests/tasks/recording_model.h"

namespace gallop::tasks {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::RecordingModel;

constexpr double infinity = std::numeric_limits<double>::infinity();

std::shared_ptr<const diffusion::Process> flow() {
  return config::make<diffusion::Process>(config::Component("objective", "flow"), {});
}

SampleRequest request_of(std::vector<int64_t> labels, int64_t batch) {
  return {.sampler = config::Component("sampler", "euler"),
          .steps = 2,
          .labels = std::move(labels),
          .seed = 11,
          .first = 100,
          .batch = batch};
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
        message_of([&] { draw_samples(model, flow(), request_of({0, 1, 0, 2, 2}, 3)); }),
        AllOf(HasSubstr("sample 103 (label 2) is not finite"), HasSubstr("1 of its 16 values")));
    EXPECT_EQ(draw_samples(model, flow(), request_of({0, 1, 0, 1}, 3)).size(0), 4);
  }
}

TEST(FiniteSamples, AGuidanceThatIsNotFiniteIsRefused) {
  const RecordingModel model({.channels = 1, .height = 4, .width = 4, .classes = 3});
  for (const double scale : {infinity, std::numeric_limits<double>::quiet_NaN(), 1e300}) {
    SampleRequest request = request_of({0}, 1);
    request.guidance.scale = scale;
    EXPECT_THAT(message_of([&] { check_request(model, flow(), request); }),
                HasSubstr("must be finite"));
  }
}

TEST(FiniteSamples, NoPictureIsMadeOfThem) {
  at::Tensor samples = at::zeros({3, 1, 2, 2});
  EXPECT_EQ(runs::to_images(samples).size(), 3u);
  samples[1][0][1][0] = infinity;
  EXPECT_THAT(message_of([&] { runs::to_images(samples); }), HasSubstr("no picture of sample 1"));
}

TEST(SampleNumbers, MustNotPassTheLargest) {
  const RecordingModel model({.channels = 1, .height = 4, .width = 4, .classes = 3});
  SampleRequest request = request_of({0, 1}, 1);
  request.first = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(message_of([&] { check_request(model, flow(), request); }), HasSubstr("2^63 - 1"));
  request.first -= 2;
  EXPECT_EQ(draw_samples(model, flow(), request).size(0), 2);
  request.batch = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(draw_samples(model, flow(), request).size(0), 2);
}

}  // namespace
}  // namespace gallop::tasks
