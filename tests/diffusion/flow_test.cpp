#include "gallop/diffusion/flow.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/support/errors.h"
#include "tests/support/fixture.h"

namespace gallop::diffusion {
namespace {

using testing::Fixture;
using ::testing::HasSubstr;
using testing::message_of;

class FlowPaths : public ::testing::TestWithParam<const char*> {};

TEST_P(FlowPaths, CoefficientsAndConversionsAreThoseOfTheReference) {
  const Fixture fixture(std::string("diffusion/flow_path_") + GetParam());
  const FlowPath path = parse_flow_path(GetParam());
  const at::Tensor t = fixture.in("t"), x = fixture.in("x"), velocity = fixture.in("velocity");
  const auto at_times = [&](const std::function<double(double)>& f) {
    std::vector<double> values;
    for (int64_t i = 0; i < t.size(0); ++i) values.push_back(f(t[i].item<double>()));
    return at::tensor(values, at::kDouble);
  };
  const auto coefficient = [&](double PathPoint::* member) {
    return at_times([&](double time) { return path_point(path, time).*member; });
  };
  fixture.expect_close(coefficient(&PathPoint::alpha), "out.alpha");
  fixture.expect_close(coefficient(&PathPoint::sigma), "out.sigma");
  fixture.expect_close(coefficient(&PathPoint::d_alpha), "out.d_alpha");
  fixture.expect_close(coefficient(&PathPoint::d_sigma), "out.d_sigma");
  fixture.expect_close(coefficient(&PathPoint::drift_variance), "out.drift_var");
  const at::Tensor ratio = coefficient(&PathPoint::alpha_ratio).to(at::kFloat).view({-1, 1, 1, 1});
  fixture.expect_close(ratio.mul(x).neg(), "out.drift_mean");

  const double norm = fixture.config().at("diffusion_norm").as_double();
  const std::pair<const char*, const char*> forms[] = {
      {"constant", "constant"},     {"SBDM", "sbdm"},
      {"sigma", "sigma"},           {"linear", "linear"},
      {"decreasing", "decreasing"}, {"inccreasing-decreasing", "increasing-decreasing"}};
  for (const auto& [theirs, ours] : forms)
    fixture.expect_close(at_times([&, form = std::string(ours)](double time) {
                           return diffusion_coefficient(path, form, norm, time);
                         }),
                         std::string("out.diffusion.") + theirs);

  const Flow flow(path, FlowPrediction::velocity);
  const at::Tensor noise = fixture.in("x0"), data = fixture.in("x1");
  fixture.expect_close(flow.interpolate(data, noise, t), "out.x_t");
  fixture.expect_close(flow.target(data, noise, t), "out.u_t");
  fixture.expect_close(flow.score_from_velocity(velocity, x, t), "out.score_from_velocity");
  fixture.expect_close(flow.noise_from_velocity(velocity, x, t), "out.noise_from_velocity");
  fixture.expect_close(flow.velocity_from_score(velocity, x, t), "out.velocity_from_score");
  fixture.expect_all_checked();
}

INSTANTIATE_TEST_SUITE_P(Paths, FlowPaths, ::testing::Values("linear", "gvp", "vp"));

class FlowLosses : public ::testing::TestWithParam<const char*> {};

TEST_P(FlowLosses, AndTheirGradientsAreThoseOfTheReference) {
  const Fixture fixture(std::string("diffusion/flow_loss_") + GetParam());
  for (const std::string prediction : {"velocity", "noise", "score"}) {
    for (const std::string weight : {"none", "velocity", "likelihood"}) {
      if (prediction == "velocity" && weight != "none") continue;  // a velocity has no weights
      const Flow flow(parse_flow_path(GetParam()), parse_flow_prediction(prediction));
      const at::Tensor output = fixture.in("model_output").clone().requires_grad_(true);
      const at::Tensor loss_B = flow.loss(output, fixture.in("x1"), fixture.in("x0"),
                                          fixture.in("t"), parse_flow_weight(weight));
      const std::string name = prediction + "_" + weight;
      fixture.expect_close(loss_B, "out." + name + ".loss");
      fixture.expect_close(loss_B.mean(), "out." + name + ".loss_mean");
      loss_B.mean().backward();
      fixture.expect_close(output.grad(), "grad." + name + ".model_output");
    }
  }
  fixture.expect_all_checked();
}

INSTANTIATE_TEST_SUITE_P(Paths, FlowLosses, ::testing::Values("linear", "gvp"));

TEST(FlowIntervals, AreThoseOfTheReference) {
  const Fixture fixture("diffusion/flow_intervals");
  const double last_step = fixture.config().at("last_step_size").as_double();
  std::vector<double> rows;
  for (const Json& row : fixture.config().at("rows").as_array()) {
    const std::string& name = row.as_string();
    const size_t slash = name.find('/');
    const FlowPath path = parse_flow_path(name.substr(0, slash));
    const FlowPrediction prediction = parse_flow_prediction(name.substr(slash + 1));
    // Columns: training, ode, sde with w = sigma and with w = drift variance, which do not differ.
    const TimeInterval sde = sde_interval(path, prediction, last_step);
    for (const TimeInterval& i :
         {training_interval(path, prediction), ode_interval(path, prediction), sde, sde}) {
      rows.push_back(i.first);
      rows.push_back(i.last);
    }
  }
  fixture.expect_close(at::tensor(rows, at::kDouble).view({-1, 8}), "out.intervals");
  fixture.expect_all_checked();
}

// d alpha and d sigma against central differences of alpha and sigma: O(h^2).
TEST(FlowPaths, DerivativesAreThoseOfTheCoefficients) {
  constexpr double h = 1e-5;
  for (const char* name : {"linear", "gvp", "vp"}) {
    const FlowPath path = parse_flow_path(name);
    for (const double t : {0.1, 0.35, 0.6, 0.9}) {
      const PathPoint low = path_point(path, t - h), high = path_point(path, t + h);
      const PathPoint p = path_point(path, t);
      EXPECT_NEAR(p.d_alpha, (high.alpha - low.alpha) / (2 * h), 1e-6) << name << " " << t;
      EXPECT_NEAR(p.d_sigma, (high.sigma - low.sigma) / (2 * h), 1e-6) << name << " " << t;
    }
  }
}

TEST(NormalQuantile, InvertsTheDistributionFunction) {
  EXPECT_NEAR(normal_quantile(0.5), 0, 1e-15);
  // Abramowitz & Stegun, table 26.1.
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-13);
  EXPECT_NEAR(normal_quantile(0.0013498980316300946), -3, 1e-12);
  for (const double u : {1e-12, 1e-3, 0.3, 0.7, 0.999})
    EXPECT_NEAR(0.5 * std::erfc(-normal_quantile(u) / std::sqrt(2.0)), u, 1e-14 + 1e-12 * u) << u;
  EXPECT_TRUE(std::isfinite(normal_quantile(0)));
  EXPECT_TRUE(std::isfinite(normal_quantile(1)));
}

TEST(Flow, SaysWhatIsWrong) {
  EXPECT_THAT(message_of([] { parse_flow_path("cubic"); }), HasSubstr("linear, gvp and vp"));
  EXPECT_THAT(message_of([] { parse_flow_prediction("x0"); }), HasSubstr("velocity, noise"));
  EXPECT_THAT(message_of([] { parse_flow_weight("snr"); }), HasSubstr("likelihood"));
  EXPECT_THAT(message_of([] { path_point(FlowPath::linear, 1.5); }), HasSubstr("1.5"));
  EXPECT_THAT(message_of([] { diffusion_coefficient(FlowPath::linear, "brown", 1, 0.5); }),
              HasSubstr("'brown'"));
  EXPECT_THAT(message_of([] { diffusion_coefficient(FlowPath::linear, "sbdm", 1, 0); }),
              HasSubstr("infinite at t = 0"));
}

}  // namespace
}  // namespace gallop::diffusion
